"""Every variation changes what it says, alone and with all others, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from buildonce import variation
from buildonce.variation import VARIATIONS, Start

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.protocols import Runner

# What a program can see of where, when and by whom it is run.
LOOK = """
import json, os, resource, time
print(json.dumps({
    "build-path": os.getcwd(),
    "host": os.uname().nodename,
    "kernel": os.uname().release.split(".")[:2],
    "user": [os.getuid(), os.getgid()],
    "network": os.readlink("/proc/self/ns/net"),
    "cpus": len(os.sched_getaffinity(0)),
    "priority": os.nice(0),
    "limits": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    "time": time.gmtime().tm_year,
    "umask": os.umask(0),
    "environment": os.environ.get("SOURCE_DATE_EPOCH"),
    "home": os.environ.get("HOME"),
    "locale": os.environ.get("LC_ALL"),
    "time-zone": os.environ.get("TZ"),
    "exec-path": os.environ["PATH"],
    "shell": os.environ.get("SHELL"),
    "hash-seed": os.environ.get("PYTHONHASHSEED"),
    "aslr": int(open("/proc/self/personality").read(), 16) & 0x0040000,
    "file-order": os.stat(".").st_dev,
}))
"""
USUAL = ("environment", "home", "locale", "time-zone", "exec-path", "shell", "hash-seed", "umask", "build-path")


def seen(start: Start, host: Runner) -> dict[str, Any]:
    outcome = host.run(start.command(sys.executable, "-c", LOOK, capture=True))
    found: dict[str, Any] = json.loads(outcome.stdout)
    return found


def test_names_are_unique_and_say_what_they_do() -> None:
    assert len({one.name for one in VARIATIONS}) == len(VARIATIONS)
    assert all(one.says for one in VARIATIONS)


@pytest.mark.parametrize("name", USUAL)
def test_what_needs_no_program_always_works_and_changes_what_it_says(name: str, tmp_path: Path, host: Runner) -> None:
    one = next(one for one in VARIATIONS if one.name == name)
    assert variation.usable(one, host, tmp_path)
    place = tmp_path / "place"
    place.mkdir()
    start = one.apply(Start(place=place))
    start.place.mkdir(parents=True, exist_ok=True)

    assert seen(start, host)[name] != seen(Start(place=place), host)[name]


def test_all_that_this_machine_can_do_at_once(tmp_path: Path, host: Runner) -> None:
    can = [one for one in VARIATIONS if variation.usable(one, host, tmp_path)]
    place = tmp_path / "place"
    place.mkdir()
    before = seen(Start(place=place), host)
    start = variation.all_of(Start(place=place), reversed(can))
    start.place.mkdir(parents=True, exist_ok=True)
    (start.place / "kept").write_text("kept")

    found = seen(start, host)

    same = {one.name for one in can if found[one.name] == before[one.name]}
    # A machine of one CPU, and a user who has no more priority to give away, have nothing to vary.
    assert same <= {"cpus", "priority"}
    assert (start.place / "kept").read_text() == "kept"
    assert {path.name for path in start.place.parent.iterdir()} == {start.place.name}
    shutil.rmtree(place)  # nothing is mounted any more


def test_a_machine_that_cannot_says_so(tmp_path: Path, host: Runner) -> None:
    missing = variation.Variation(
        name="missing", says="with a program that is nowhere", apply=lambda start: start.within("no-such-program-7")
    )
    refused = dataclasses.replace(missing, apply=lambda start: start.within("false"))
    assert not variation.usable(missing, host, tmp_path)
    assert not variation.usable(refused, host, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_exit_code_of_the_command_comes_through(tmp_path: Path, host: Runner) -> None:
    can = [one for one in VARIATIONS if variation.usable(one, host, tmp_path)]
    start = variation.all_of(Start(place=tmp_path), can)
    start.place.mkdir(parents=True, exist_ok=True)
    assert host.run(start.command("sh", "-c", "exit 6"), check=False).returncode == 6
