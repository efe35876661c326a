"""Targets: what they say about wheels is compared with a real interpreter of the distribution."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import packaging
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildonce import target as targets
from buildonce.errors import ConfigurationError
from buildonce.model import FORMATS

PROBE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from packaging.markers import default_environment
from packaging.tags import sys_tags
print(json.dumps([[str(tag) for tag in sys_tags()], default_environment()]))
"""
# What only the running kernel knows; a marker on it cannot be locked.
UNKNOWABLE = {"platform_release", "platform_version"}


@pytest.fixture(scope="module")
def real() -> tuple[list[str], dict[str, str]]:
    """Tags and markers of this Debian 12's own interpreter."""
    site = str(Path(packaging.__file__).parent.parent)
    command = ["/usr/bin/python3.11", "-I", "-c", PROBE, site]
    tags, markers = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return tags, markers


@pytest.mark.integration
def test_tags_are_those_of_the_real_interpreter_in_its_order(real: tuple[list[str], dict[str, str]]) -> None:
    assert [str(tag) for tag in targets.tags(targets.load("debian-12"))] == real[0]


@pytest.mark.integration
def test_markers_are_those_of_the_real_interpreter(real: tuple[list[str], dict[str, str]]) -> None:
    made = targets.markers(targets.load("debian-12"))
    assert made.keys() == real[1].keys()
    assert {key: made[key] for key in made.keys() - UNKNOWABLE} == {
        key: value for key, value in real[1].items() if key not in UNKNOWABLE
    }


def test_an_unknown_target_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError) as caught:
        targets.load("debian12")
    assert "did you mean 'debian-12'?" in caught.value.problems[0].hint


def test_an_unlike_target_names_all() -> None:
    with pytest.raises(ConfigurationError) as caught:
        targets.load("windows")
    assert caught.value.problems[0].hint.startswith(f"known targets: {', '.join(targets.names())}; define another")


@pytest.mark.parametrize("name", targets.names())
def test_every_target_is_whole(name: str) -> None:
    target = targets.load(name)
    suffix = "" if target.architecture == "amd64" else f"-{target.architecture}"
    assert target.name == name == f"{target.distribution}-{target.release}{suffix}"
    assert target.interpreter.name == f"python{target.python_minor}"
    tools = {target.interpreter.name, f"{target.interpreter.name}-dev", "dh-virtualenv"}
    assert tools <= set(target.builder.toolchain)
    assert {target.interpreter.name, "ca-certificates"} <= set(target.runtime)
    assert ("/usr/bin/cc", "gcc") in target.builder.alternatives
    assert target.multiarch == f"{target.machine}-linux-gnu"


@settings(deadline=None)
@given(st.sampled_from(targets.names()), st.integers(17, 60))
def test_a_manylinux_wheel_fits_up_to_the_glibc_of_the_target(name: str, minor: int) -> None:
    target = targets.load(name)
    tags = {str(tag) for tag in targets.tags(target)}
    abi = f"cp{target.python_minor.replace('.', '')}"
    assert (f"{abi}-{abi}-manylinux_2_{minor}_{target.machine}" in tags) == (minor <= target.glibc[1])


def test_no_wheel_of_another_machine_or_libc_fits() -> None:
    for name in targets.names():
        target = targets.load(name)
        found = {tag.platform for tag in targets.tags(target)} - {"any"}
        assert all(one.endswith(f"_{target.machine}") and one.startswith(("linux", "manylinux")) for one in found)


def test_a_target_that_is_built_on_another_has_its_python_and_no_deb() -> None:
    target = targets.load("debian-12-arm64")
    assert target.builder == targets.load("debian-12") == target.builder.builder
    assert (target.python_minor, target.interpreter) == (target.builder.python_minor, target.builder.interpreter)
    assert target.formats == ("wheel", "pex", "oci")
    assert target.builder.formats == FORMATS
