"""The bill of materials: valid, complete, the same every time, and telling nothing that is private."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from buildonce import sbom
from buildonce.errors import VerificationError
from buildonce.oci.packages import Package
from buildonce.system import canonical
from tests import small_release

if TYPE_CHECKING:
    from pathlib import Path


def bill(*stages: Any, **more: Any) -> dict[str, Any]:
    data = sbom.make(stages, **more)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
    assert canonical.dump(json.loads(data)) == data
    found: dict[str, Any] = json.loads(data)
    return found


def needs(document: dict[str, Any], name: str) -> set[str]:
    """The names that the component *name* depends on."""
    every = [*document["components"], document["metadata"]["component"]]
    by_ref = {component["bom-ref"]: component["name"] for component in every}
    return {
        by_ref[other]
        for one in document["dependencies"]
        if by_ref[one["ref"]] == name
        for other in one.get("dependsOn", [])
    }


def component(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in document["components"] if one["name"] == name)
    return found


def test_every_wheel_is_a_component_with_its_hash(tmp_path: Path) -> None:
    made = small_release.rich_stage(tmp_path, "Requires-Dist: uvicorn")

    document = bill(made)

    assert {one["name"]: one["hashes"][0]["content"] for one in document["components"]} == {
        wheel.name: wheel.sha256 for wheel in made.wheelhouse.wheels if wheel.name != "tinyapp"
    }
    assert document["metadata"]["component"]["name"] == "tinyapp"
    assert document["metadata"]["component"]["version"] == small_release.VERSION.pep440
    assert document["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"


def test_the_graph_follows_the_markers_of_the_target(tmp_path: Path) -> None:
    old = bill(small_release.rich_stage(tmp_path / "12", "Requires-Dist: uvicorn"))
    new = bill(
        small_release.rich_stage(
            tmp_path / "13", "Requires-Dist: uvicorn", name="debian-13", python="3.13.5", codename="trixie"
        )
    )

    assert needs(old, "tinyapp") == {"uvicorn"}
    assert needs(old, "click") == set()  # colorama is for another system than the target's
    assert needs(old, "odd") == {"tomli"}
    assert needs(new, "odd") == set()


@pytest.mark.parametrize(("asked", "expected"), [("uvicorn", {"click"}), ("uvicorn[standard]", {"click", "httptools"})])
def test_an_extra_counts_when_somebody_asks_for_it(tmp_path: Path, asked: str, expected: set[str]) -> None:
    assert needs(bill(small_release.rich_stage(tmp_path, f"Requires-Dist: {asked}")), "uvicorn") == expected


def test_licenses_are_as_precise_as_the_metadata(tmp_path: Path) -> None:
    document = bill(small_release.rich_stage(tmp_path, "Requires-Dist: uvicorn"))
    found = {one["name"]: one.get("licenses") for one in document["components"]}

    assert found == {
        "click": [{"license": {"acknowledgement": "declared", "id": "BSD-3-Clause"}}],
        "colorama": None,
        "httptools": [{"license": {"acknowledgement": "declared", "name": "MIT License"}}],
        "odd": [{"license": {"acknowledgement": "declared", "name": "not (an expression"}}],
        "tomli": [{"acknowledgement": "declared", "expression": "MIT OR Apache-2.0"}],
        "uvicorn": None,
    }


def test_nothing_private_is_told(tmp_path: Path) -> None:
    local = small_release.wheel(tmp_path, "local", "1.0", url=f"file://{tmp_path}/local.whl")
    made = small_release.rich_stage(tmp_path, "Requires-Dist: uvicorn")
    made = small_release.with_wheels(made, made.own, [*made.wheelhouse.wheels[:-2], local])

    data = sbom.make([made]).decode()

    assert "https://pypi.example.org/click.whl" in data
    for secret in ("secret", "user", "token", "file:", str(tmp_path)):
        assert secret not in data


def test_a_compiled_wheel_names_its_sdist(tmp_path: Path) -> None:
    made = small_release.rich_stage(tmp_path, "")
    compiled = small_release.wheel(tmp_path, "psycopg2", "2.9", sdist="https://pypi.example.org/psycopg2-2.9.tar.gz")

    document = bill(small_release.with_wheels(made, made.own, [compiled]))

    (reference,) = component(document, "psycopg2")["externalReferences"]
    assert reference["type"] == "source-distribution"
    assert reference["url"] == "https://pypi.example.org/psycopg2-2.9.tar.gz"


def test_os_packages_are_components_of_the_application(tmp_path: Path) -> None:
    made = small_release.rich_stage(tmp_path, "Requires-Dist: uvicorn")
    pins = [small_release.deb("libpq5", "15.14-0+deb12u1"), small_release.deb("libc6", "1:2.36-9")]

    packages = tuple(Package(pin=pin, path=tmp_path, fields={}, sonames=frozenset()) for pin in pins)

    document = bill(replace(made, runtime=packages))

    assert needs(document, "tinyapp") == {"uvicorn", "libpq5", "libc6"}
    assert component(document, "libpq5")["purl"] == (
        "pkg:deb/debian/libpq5@15.14-0%2Bdeb12u1?arch=amd64&distro=bookworm"
    )
    assert component(document, "libpq5")["hashes"][0]["content"] == pins[0].file.sha256


def test_a_file_that_targets_share_is_one_component_and_others_stay_apart(tmp_path: Path) -> None:
    old = small_release.rich_stage(tmp_path / "12", "Requires-Dist: uvicorn")
    new = small_release.rich_stage(
        tmp_path / "13", "Requires-Dist: uvicorn", name="debian-13", python="3.13.5", codename="trixie"
    )
    compiled = small_release.wheel(tmp_path / "x", "click", "1.0", "Summary: compiled\n")
    new = small_release.with_wheels(
        new,
        new.own,
        [*(one for one in new.wheelhouse.wheels if one.name not in ("click", "tinyapp")), compiled],
    )

    document = bill(old, new)

    assert sorted(one["name"] for one in document["components"]) == sorted([*small_release.WHEELS, "click"])
    assert needs(document, "uvicorn") == {"click"}
    assert sbom.make([old, new]) == sbom.make([new, old])


def test_a_change_of_content_changes_the_serial_number(tmp_path: Path) -> None:
    made = small_release.rich_stage(tmp_path, "Requires-Dist: uvicorn")

    assert bill(made)["serialNumber"] == bill(made)["serialNumber"]
    assert bill(made)["serialNumber"] != bill(made, tool_version="2")["serialNumber"]


def test_a_wheel_without_metadata_is_named(tmp_path: Path) -> None:
    made = small_release.rich_stage(tmp_path, "")
    made.wheelhouse.wheels[0].path.write_bytes(b"no zip")

    with pytest.raises(VerificationError, match="metadata cannot be read") as caught:
        sbom.make([made])

    assert caught.value.problems[0].where == made.wheelhouse.wheels[0].filename


PROGRAM = """
import pathlib, sys
from tests import small_release
from buildonce import sbom
stage = small_release.rich_stage(pathlib.Path(sys.argv[1]), "Requires-Dist: uvicorn[standard]")
sys.stdout.buffer.write(sbom.make([stage]))
"""


def test_the_bytes_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    found = set()
    for seed in ("0", "1", "42"):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        argv = [sys.executable, "-c", PROGRAM, str(tmp_path / seed)]
        found.add(subprocess.run(argv, env=environment, check=True, capture_output=True).stdout)

    assert len(found) == 1
    assert len(found.pop()) > 1000


def test_the_library_is_not_imported_before_it_is_needed() -> None:
    program = "import sys, buildonce.sbom; sys.exit('cyclonedx' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
