"""Provenance: complete, the same wherever it is made, and comparable by its recipe."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from buildonce import provenance
from buildonce.errors import VerificationError
from tests import small_release

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def made(tmp_path: Path) -> Any:
    return small_release.stage(tmp_path)


def document(tmp_path: Path, stage: Any, **more: Any) -> bytes:
    return provenance.make(
        [stage],
        **{
            "artifacts": small_release.artifacts(tmp_path),
            "locks": small_release.LOCKS,
            "build": [small_release.build_requirement()],
            "tools": small_release.TOOLS,
            "byproducts": {"sbom.cdx.json": small_release.digest("sbom")},
            **more,
        },
    )


def test_every_input_is_told_with_its_digest(tmp_path: Path, made: Any) -> None:
    value = json.loads(document(tmp_path, made))
    found = {one["name"]: one for one in value["predicate"]["buildDefinition"]["resolvedDependencies"]}

    assert value["predicateType"] == "https://slsa.dev/provenance/v1"
    assert found.keys() == {
        *("source", "pylock.toml", "pylock.build.toml"),
        *("click-8.1.7-py3-none-any.whl", "pex-2.105.2-py3-none-any.whl", "hatchling-1.33.0.whl"),
        "libc6_2.36-9+deb12u10_amd64.deb",
    }
    assert found["source"]["digest"] == {
        "gitCommit": small_release.SOURCE.commit,
        "gitTree": small_release.SOURCE.tree,
    }
    assert found["pylock.toml"]["digest"] == {"sha256": small_release.LOCKS["pylock.toml"]}
    assert found["click-8.1.7-py3-none-any.whl"] == {
        "name": "click-8.1.7-py3-none-any.whl",
        "uri": "pkg:pypi/click@8.1.7?file_name=click-8.1.7-py3-none-any.whl",
        "downloadLocation": "https://pypi.example.org/f/click-8.1.7.whl",
        "digest": {"sha256": next(w.sha256 for w in made.wheelhouse.wheels if w.name == "click")},
        "annotations": {"role": "application"},
    }


def test_a_compiled_wheel_is_told_as_its_sdist(tmp_path: Path, made: Any) -> None:
    compiled = small_release.wheel(tmp_path, "psycopg2", "2.9", sdist="https://pypi.example.org/psycopg2-2.9.tar.gz")
    house = dataclasses.replace(made.wheelhouse, wheels=(compiled, made.own))

    text = document(tmp_path, dataclasses.replace(made, wheelhouse=house)).decode()

    assert "psycopg2-2.9.tar.gz" in text
    assert compiled.filename not in text


def test_nothing_private_and_no_time_is_told(tmp_path: Path, made: Any) -> None:
    text = document(tmp_path, made).decode()

    for secret in ("secret", "u:p@", str(tmp_path), "startedOn", "finishedOn", "invocationId"):
        assert secret not in text
    assert "git+https://git.example.org/team/tinyapp@refs/tags/v1.2.4" in text


def test_a_source_without_an_origin_is_told_by_its_commit(tmp_path: Path, made: Any) -> None:
    alone = dataclasses.replace(made, source=dataclasses.replace(made.source, url="", tag=""))

    value = json.loads(document(tmp_path, alone))

    definition = value["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["source"] == {"ref": small_release.SOURCE.commit}
    assert "uri" not in definition["resolvedDependencies"][0]


def test_a_dirty_source_says_so(tmp_path: Path, made: Any) -> None:
    changes = small_release.digest("changes")
    dirty = dataclasses.replace(made, source=dataclasses.replace(made.source, dirty=changes))

    value = json.loads(document(tmp_path, dirty))

    assert value["predicate"]["buildDefinition"]["resolvedDependencies"][0]["annotations"] == {"dirty": changes}


def test_the_recipe_is_of_the_inputs_alone(tmp_path: Path, made: Any) -> None:
    one = provenance.recipe(document(tmp_path, made))
    other_bytes = [dataclasses.replace(a, sha256=small_release.digest("x")) for a in small_release.artifacts(tmp_path)]

    assert provenance.recipe(document(tmp_path, made, artifacts=other_bytes)) == one
    assert provenance.recipe(provenance.by(document(tmp_path, made), "ci")) == one
    assert provenance.recipe(document(tmp_path, made, locks={"pylock.toml": small_release.digest("x")})) != one


def test_a_signed_copy_differs_by_its_builder_alone(tmp_path: Path, made: Any) -> None:
    plain = document(tmp_path, made)
    copies = {mode: provenance.by(plain, mode) for mode in ("workstation", "ci")}

    assert len({plain, *copies.values()}) == 3
    assert {provenance.unsigned(copy) for copy in copies.values()} == {plain}
    with pytest.raises(VerificationError, match=r"builder\.id has to be"):
        provenance.unsigned(plain)
