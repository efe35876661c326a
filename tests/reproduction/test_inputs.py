"""What a rebuild is made from has to be what the release was made from; otherwise which input differs is told."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from buildonce import manifest, provenance, seal, statement
from buildonce.errors import ConfigurationError, InputsDifferError
from buildonce.reproduction import inputs
from buildonce.system import canonical
from tests import conftest

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.manifest import Manifest


@pytest.fixture
def said(signed: Path) -> Manifest:
    """The manifest of a release that the installed tools made."""
    found = manifest.read((signed / manifest.FILE).read_bytes())
    return dataclasses.replace(found, tools={**found.tools, **seal.tools()})


def test_the_same_tools(said: Manifest) -> None:
    inputs.require_tools(said, "dist/tinyapp")


def test_another_version_of_the_tool_names_both_and_how_to_run_it(said: Manifest) -> None:
    older = dataclasses.replace(said, tools={**said.tools, "buildonce": "0.0.7"})
    with pytest.raises(InputsDifferError) as caught:
        inputs.require_tools(older, "dist/tinyapp")
    assert caught.value.exit_code == 6
    (problem,) = caught.value.problems
    assert problem.message == f"the release was made with buildonce 0.0.7, here is {seal.tools()['buildonce']}"
    assert "uvx --from buildonce==0.0.7 release reproduce dist/tinyapp" in problem.hint
    assert "pipx run --spec buildonce==0.0.7 release reproduce dist/tinyapp" in problem.hint


def test_every_other_tool_is_named(said: Manifest) -> None:
    older = dataclasses.replace(said, tools={**said.tools, "deflate": "0.1", "installer": "0.2"})
    with pytest.raises(InputsDifferError) as caught:
        inputs.require_tools(older, "dist/tinyapp")
    assert [one.message.split(",")[0] for one in caught.value.problems] == [
        "the release was made with deflate 0.1",
        "the release was made with installer 0.2",
    ]
    assert caught.value.problems[0].hint == "pip install deflate==0.1 installer==0.2"


def test_locks_of_the_commit(said: Manifest, tmp_path: Path) -> None:
    (tmp_path / "pylock.toml").write_bytes(b"lock")
    (tmp_path / "pylock.build.toml").write_bytes(b"build lock")
    inputs.require_locks(said, tmp_path)

    (tmp_path / "pylock.toml").write_bytes(b"edited")
    (tmp_path / "pylock.build.toml").unlink()
    with pytest.raises(InputsDifferError) as caught:
        inputs.require_locks(said, tmp_path)
    missing, edited = caught.value.problems
    assert edited.where == "pylock.toml"
    assert edited.message.startswith("the lock was edited")
    assert said.locks["pylock.toml"] in edited.message
    assert missing.message.startswith("pylock.build.toml is not in the commit")
    assert "commit the lock" in missing.hint


def test_a_target_that_the_commit_does_not_have(said: Manifest, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(conftest.PYPROJECT)
    inputs.require_targets(said, tmp_path)

    (built,) = said.targets
    other = dataclasses.replace(built, target=dataclasses.replace(built.target, name="plan-9"))
    with pytest.raises(ConfigurationError, match="'plan-9'") as caught:
        inputs.require_targets(dataclasses.replace(said, targets=(other,)), tmp_path)
    assert caught.value.exit_code == 3


def test_equal_recipes(signed: Path) -> None:
    inputs.require_same((signed / provenance.FILE).read_bytes(), signed)


def test_each_input_that_differs_is_named(signed: Path) -> None:
    data = (signed / provenance.FILE).read_bytes()
    said = statement.read(data, where="it", predicate_type=statement.PROVENANCE)
    value = canonical.load_canonical(data, where="it")
    assert isinstance(value, dict)
    definition = value["predicate"]["buildDefinition"]
    definition["externalParameters"]["version"] = "9.9"
    definition["internalParameters"]["umask"] = "077"
    click = next(one for one in definition["resolvedDependencies"] if one["name"].startswith("click"))
    click["digest"]["sha256"] = "0" * 64
    definition["resolvedDependencies"].append({"name": "new.lock", "digest": {"sha256": "1" * 64}})
    other = statement.make(statement.PROVENANCE, said.subjects, value["predicate"])

    with pytest.raises(InputsDifferError) as caught:
        inputs.require_same(other, signed)

    headline, *found = [one.message for one in caught.value.problems]
    assert headline == "this is made from something else: 4 inputs differ"
    assert [one.split(": the release has")[0] for one in found] == [
        "externalParameters.version",
        "internalParameters.umask",
        "new.lock",
        "pkg:pypi/click@8.1.7?file_name=click-8.1.7-py3-none-any.whl",
    ]
    assert found[0] == "externalParameters.version: the release has 9.9, here is 1.2.4.dev5+g1a2b3c4"
    assert found[2].endswith("here is none")
