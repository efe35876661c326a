"""The same commit and lock give the same bytes, wherever, whenever, by whomever and in whatever they are built.

Nothing is normalised before the comparison, and nothing is compared but modes and sha256.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from buildonce import buildroot
from buildonce import target as targets
from buildonce.debs import lock as debs
from tests.backends import PROJECTS
from tests.integration import rebuilding, varied
from tests.integration.levels import FACTORS
from tests.integration.varied import ROWS
from tests.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.integration.conftest import Built, Example
    from tests.integration.levels import Row
    from tests.integration.varied import Place, Stores

HERE = Path(__file__).parent
PAGE = ROOT / "docs/explanation/reproducible.md"
TARGET = targets.load("debian-12")
Tally = Callable[[str, "Row", int], None]
NAMES = tuple(sorted(folder.name for folder in PROJECTS.iterdir()))
# What a build step can notice, because the kernel is one: the bytes are the same all the same. Nothing else gets in.
NOTICED = {"kernel", "aslr", "cpus", "priority", "limits", "time", "file-order", "host"}
# Levels of these are no facts that a program could print; what they do is shown by what was there and what was made.
PREPARED = {"store", "runner"}


def number(row: Row) -> str:
    return f"{ROWS.index(row):02}"


@dataclass
class Looks:
    """What programs noticed, by row: those that were started like the build, and those that it starts."""

    outside: list[tuple[Row, Mapping[str, Any]]] = field(default_factory=list)
    inside: list[tuple[Row, Mapping[str, Any]]] = field(default_factory=list)


@pytest.fixture(scope="module")
def looks() -> Looks:
    return Looks()


def look(place: Place, looks: Looks) -> None:
    """Let programs that are started like the build say what they see."""
    many = place.start.place / "many"
    many.mkdir(mode=0o755)
    for file in range(40):
        (many / str(file)).touch()
    pins = debs.read(place.root / "debs.lock.toml", TARGET)
    root = place.store / "roots" / buildroot.key(TARGET, pins)
    ended = place.run(*(str(path) for path in (HERE / "look.py", HERE / "probe.py", many, root)))
    assert ended.code == 0, ended.stderr
    outside, inside = map(json.loads, ended.stdout.splitlines())
    looks.outside.append((place.row, outside))
    if place.row["runner"] == "sandbox":  # an engine takes nothing of its caller along
        looks.inside.append((place.row, inside))


@pytest.mark.parametrize("row", ROWS, ids=number)
def test_every_byte_is_the_same(
    row: Row, orders: Example, first: Built, stores: Stores, looks: Looks, tally: Tally
) -> None:
    with varied.prepared(row, orders.root, stores) as place:
        data = place.build()
        release = place.root / "dist" / "orders-1.4.0"
        found, expected = rebuilding.listing(release), rebuilding.listing(first.folder)
        assert rebuilding.differing(expected, found) == [], row
        assert len(found) == len(data["artifacts"]) + 4 == 10
        # Another key, in another home: the signatures do differ, so this row did build.
        for name in rebuilding.SIGNATURES:
            assert (release / name).read_bytes() != (first.folder / name).read_bytes()
        assert {path.name for path in release.iterdir()} == {path.name for path in first.folder.iterdir()}
        owner = {"1111:2222": 1111, "nobody": 65534}.get(row["user"], os.getuid())
        assert {path.stat().st_uid for path in release.iterdir()} == {owner}
        look(place, looks)
    tally("orders", row, len(data["artifacts"]))


def test_the_rows_hold_every_pair_of_levels() -> None:
    names = sorted(FACTORS)
    every = {
        ((one, mine), (other, yours))
        for at, one in enumerate(names)
        for other in names[at + 1 :]
        for mine in FACTORS[one]
        for yours in FACTORS[other]
    }
    assert varied.pairs(ROWS) == every


def test_the_docs_list_every_variation_and_which_of_them_builds_see() -> None:
    table = re.findall(r"^\| `([a-z-]+)` \|.*\| ([a-z ]+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert [name for name, _ in table] == list(FACTORS)
    assert {name for name, said in table if said != "no"} == NOTICED


@pytest.fixture(scope="module")
def seen(orders: Example, stores: Stores, looks: Looks) -> Looks:
    """Two rows that are far from each other at least, when the test is run alone."""
    if len(looks.outside) < len(ROWS):
        for row in ROWS:
            if not any(row is done for done, _ in looks.outside):
                with varied.prepared({**row, "store": "warm"}, orders.root, stores) as place:
                    look(place, looks)
    return looks


@pytest.mark.parametrize("factor", [name for name in FACTORS if name not in PREPARED])
def test_a_variation_varies(factor: str, seen: Looks) -> None:
    """Programs that are started as the builds were see another thing at every level, and at one level the same."""
    found: dict[str, set[str]] = {level: set() for level in FACTORS[factor]}
    for row, facts in seen.outside:
        found[row[factor]].add(json.dumps(facts[factor]))
    assert all(found.values())
    for level, values in found.items():
        others = set().union(*(them for other, them in found.items() if other != level))
        assert values & others == set(), f"{factor} is not varied by {level}"


@pytest.mark.parametrize("factor", [name for name in FACTORS if name not in PREPARED])
def test_what_a_build_step_can_notice(factor: str, seen: Looks) -> None:
    found = {json.dumps(facts[factor]) for row, facts in seen.inside}
    assert (len(found) > 1) == (factor in NOTICED), found


@pytest.mark.parametrize("name", NAMES)
def test_a_project_of_every_backend(name: str, locked: Callable[[str], Example], stores: Stores, tally: Tally) -> None:
    """Each project in another row."""
    row = {**ROWS[NAMES.index(name) % len(ROWS)], "store": "warm"}
    expected = rebuilding.listing(Path(locked(name).release("build")["dir"]))
    with varied.prepared(row, locked(name).root, stores) as place:
        data = place.build()
        assert rebuilding.differing(expected, rebuilding.listing(Path(data["dir"]))) == [], row
    assert len(expected) == len(data["artifacts"]) + 4 == 10
    tally(name, row, len(data["artifacts"]))


def test_without_all_this_the_bytes_differ(orders: Example, stores: Stores) -> None:
    """The control: what pypa/build makes of the same commit in the first row, and in the one farthest from it."""
    made = []
    for row in (ROWS[0], varied.far_from(ROWS[0])):
        with varied.prepared({**row, "store": "warm"}, orders.root, stores) as place:
            out = place.start.place / "plain"
            ended = place.run("-m", "build", "--no-isolation", "--outdir", str(out), str(place.root))
            assert ended.code == 0, ended.stdout + ended.stderr
            made.append(rebuilding.listing(out))
    wheel, sdist = sorted(made[0], key=lambda name: not name.endswith(".whl"))
    assert set(rebuilding.differing(*made)) == {wheel, sdist}
