"""What resolver output becomes: only what targets can use, and never less than what they need."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.markers import Marker
from packaging.tags import Tag, cpython_tags

from buildonce import target as targets
from buildonce.lock.groups import document
from buildonce.lock.python import pylock
from buildonce.lock.tidy import tidy

BOOKWORM, TRIXIE = targets.load("debian-12"), targets.load("debian-13")
PLATFORMS = [
    "win_amd64",
    "linux_aarch64",
    "manylinux_2_17_x86_64",
    "manylinux_2_39_x86_64",
    "manylinux_2_50_x86_64",
]
TAGS = [
    Tag("py3", "none", "any"),
    *(tag for minor in (10, 11, 13) for tag in cpython_tags((3, minor), abis=[f"cp3{minor}"], platforms=PLATFORMS)),
]
MARKERS = [
    "",
    "sys_platform == 'linux'",
    "sys_platform == 'win32'",
    "python_version < '3.12'",
    "python_full_version < '3.11.3'",
    "python_full_version >= '3.13.9'",
    "platform_machine == 'aarch64' or python_version >= '3.13'",
]


def package(name: str, tags: list[Tag], marker: str = "", *, sdist: bool = True) -> dict[str, Any]:
    def file(filename: str) -> dict[str, Any]:
        return {"url": f"https://ada:secret@files.example/{filename}", "hashes": {"sha256": "0" * 64}}

    made: dict[str, Any] = {"name": name, "version": "1.0"}
    made |= {"marker": marker} if marker else {}
    made |= {"wheels": [file(f"{name}-1.0-{tag}.whl") for tag in tags]} if tags else {}
    return made | ({"sdist": file(f"{name}-1.0.tar.gz")} if sdist else {})


def selected(packages: list[dict[str, Any]], target: Any) -> list[tuple[str, str]]:
    lock = pylock({"lock-version": "1.0", "created-by": "t", "packages": packages}, "t")
    found = lock.select(environment=targets.markers(target), tags=targets.tags(target))  # type: ignore[arg-type]
    return [(entry.name, artifact.filename) for entry, artifact in found]  # type: ignore[union-attr]


@settings(deadline=None)
@given(st.lists(st.sampled_from(TAGS), unique=True), st.sampled_from(MARKERS))
def test_tidying_never_changes_what_a_target_takes(tags: list[Tag], marker: str) -> None:
    whole = [package("a", tags, marker)]
    tidied = tidy(whole, (BOOKWORM, TRIXIE))
    for target in (BOOKWORM, TRIXIE):
        assert selected(tidied, target) == selected(whole, target)


@settings(deadline=None)
@given(st.lists(st.sampled_from(TAGS), unique=True), st.sampled_from(MARKERS), st.randoms())
def test_the_order_of_the_resolver_does_not_count(tags: list[Tag], marker: str, random: Any) -> None:
    packages = [package(name, tags, marker) for name in "abc"]
    shuffled = [{**one, "wheels": random.sample(one.get("wheels", []), len(tags))} for one in packages]
    random.shuffle(shuffled)
    assert tidy(shuffled, (BOOKWORM,)) == tidy([{"wheels": [], **one} for one in packages], (BOOKWORM,))


def test_wheels_that_no_target_can_use_go_and_the_sdist_stays() -> None:
    (made,) = tidy([package("a", TAGS)], (BOOKWORM,))
    assert {wheel["url"].split("-", 2)[-1] for wheel in made["wheels"]} == {
        f"{tag}.whl" for tag in TAGS if tag in targets.tags(BOOKWORM)
    }
    assert "sdist" in made
    assert "secret" not in str(made)


@pytest.mark.parametrize(
    ("marker", "kept"),
    [
        ("sys_platform == 'linux'", ""),  # true on every target
        ("sys_platform == 'win32'", None),  # on none
        ("python_version < '3.12'", "python_version < '3.12'"),  # on one
        ("python_full_version < '3.11.3'", "python_full_version < '3.11.3'"),
        # False on the targets now, true when the distribution updates its Python.
        ("python_full_version >= '3.13.9'", "python_full_version >= '3.13.9'"),
    ],
)
def test_markers(marker: str, kept: str | None) -> None:
    made = tidy([package("a", [], marker)], (BOOKWORM, TRIXIE))
    assert [one.get("marker", "") for one in made] == ([] if kept is None else [kept])


GROUPS = st.dictionaries(
    st.sampled_from(["project", "tools", "native"]),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from([mark for mark in MARKERS if mark])),
)


@settings(deadline=None)
@given(GROUPS)
def test_groups_in_one_document_select_what_each_held_alone(groups: dict[str, dict[str, str]]) -> None:
    any_tag = [Tag("py3", "none", "any")]
    made = {
        group: tidy([package(name, any_tag, marker, sdist=False) for name, marker in held.items()], (BOOKWORM, TRIXIE))
        for group, held in groups.items()
    }
    lock = pylock(document(made, (BOOKWORM, TRIXIE)), "t")
    for target in (BOOKWORM, TRIXIE):
        environment: Any = targets.markers(target)
        for group, held in groups.items():
            found = lock.select(environment=environment, tags=targets.tags(target), dependency_groups=[group])
            wanted = {name for name, marker in held.items() if Marker(marker).evaluate(environment)}
            assert {entry.name for entry, _ in found} == wanted
