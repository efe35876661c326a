"""What a host remembers is whole at any moment."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.recipes.host_program import load

if TYPE_CHECKING:
    from pathlib import Path

record = load("record")
lease = load("lease")
plans = load("plan")
Refused = load("problems").Refused


def entry(version: str) -> record.Entry:  # type: ignore[name-defined]
    return record.Entry(version, "deb", f"a_{version}.deb", "0" * 64, deployment=f"d{version}")


def ran(*versions: str) -> record.State:  # type: ignore[name-defined]
    """After these were deployed, one after the other."""
    state = record.State()
    for version in versions:
        state = state.after(entry(version), "deploy")
    return state


def trail(state: record.State) -> list[str]:  # type: ignore[name-defined]
    return [one.version for one in (state.current, state.previous, *state.earlier) if one]


@pytest.mark.parametrize(
    ("state", "version", "mode", "after"),
    [
        (ran(), "1", "deploy", ["1"]),
        (ran("1", "2"), "3", "deploy", ["3", "2", "1"]),
        (ran("1", "2"), "2", "deploy", ["2", "1"]),
        (ran("1", "2"), "1", "deploy", ["1", "2"]),  # a downgrade: what ran before is still the way back
        (ran("1", "2", "3"), "2", "rollback", ["2", "1"]),
        (ran("1", "2", "3"), "1", "rollback", ["1"]),
    ],
)
def test_what_ran_before(state: record.State, version: str, mode: str, after: list[str]) -> None:  # type: ignore[name-defined]
    assert trail(state.after(entry(version), mode)) == after


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    place = record.Place("tinyapp", tmp_path)
    assert record.state(place) == record.State()
    waits = record.Pending("d2", entry("2"), entry("1"), 1.5, 2.5, mode="rollback", touched=True)
    record.expect(place, waits)
    assert json.loads(place.pending.read_text())["from"]["version"] == "1"
    assert record.pending(place) == waits
    state = ran("1", "2", "3").told("confirmed", "3", waits, "deploy")
    record.remember(place, state)
    assert record.state(place) == state
    record.settled(place)
    assert record.pending(place) is None
    assert place.state.stat().st_mode & 0o777 == 0o600


def test_a_deployment_can_be_armed_twice() -> None:
    forward = record.Pending("d", entry("2"), entry("1"), 1.0, 2.0)
    back = replace(forward, to=entry("1"), old=entry("2"), armed=5.0, mode="rollback")
    state = record.State().told("confirmed", "2", forward, "deploy")
    assert state.confirmed(forward)
    assert not state.confirmed(back)


def test_history_does_not_grow() -> None:
    state = record.State()
    waits = record.Pending("d", entry("1"), None, 1.0, 2.0)
    for number in range(60):
        state = state.told("confirmed", str(number), waits, "deploy")
    assert [line["version"] for line in state.history] == [str(number) for number in range(10, 60)]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"current": {}, "previous": null}', '{"current": 1}'])
def test_a_damaged_state_is_not_taken_for_none(text: str, tmp_path: Path) -> None:
    place = record.Place("tinyapp", tmp_path)
    place.home.mkdir(parents=True)
    place.state.write_text(text)
    with pytest.raises(Refused) as refused:
        record.state(place)
    assert "state.json" in refused.value.problem.message


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "a b", "-a", "a_b", "a\n"])
def test_names_stay_in_their_folder(name: str) -> None:
    with pytest.raises(Refused):
        record.Place(name)


def test_files_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder/file"
    record.write(path, b"old", mode=0o600)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        record.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [one.name for one in path.parent.iterdir()] == ["file"]


def test_a_new_file_takes_the_place_of_none(tmp_path: Path) -> None:
    record.write(tmp_path / "lock", b"mine", new=True)
    with pytest.raises(FileExistsError):
        record.write(tmp_path / "lock", b"theirs", new=True)
    assert (tmp_path / "lock").read_bytes() == b"mine"


def test_what_a_cut_off_step_left_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / ".new-17").mkdir()
    (tmp_path / ".new-17/file").touch()
    with record.aside(tmp_path, "new") as made:
        assert [made] == list(tmp_path.iterdir())
        made.rename(tmp_path / "final")
    assert [one.name for one in tmp_path.iterdir()] == ["final"]


def test_one_step_at_a_time(tmp_path: Path) -> None:
    place = record.Place("tinyapp", tmp_path)
    entered, leave = threading.Event(), threading.Event()

    def first() -> None:
        with record.alone(place, 0):
            entered.set()
            leave.wait()

    thread = threading.Thread(target=first)
    thread.start()
    entered.wait()
    with pytest.raises(Refused) as refused, record.alone(place, 0.1):
        pass
    assert "another step of tinyapp" in refused.value.problem.message
    threading.Timer(0.2, leave.set).start()
    with record.alone(place, 30):
        pass
    thread.join()


def order(deployment: str, lease: float = 600) -> plans.Plan:  # type: ignore[name-defined]
    from tests.recipes.host_program import plan

    return plans.of(plan(deployment=deployment, lease=lease, who=f"{deployment}@laptop"))


def test_the_lock_says_whose_it_is(tmp_path: Path) -> None:
    place = record.Place("tinyapp", tmp_path)
    lease.take(place, order("ana"))
    since = record.lease(place).since
    lease.take(place, order("ana"))
    assert record.lease(place).since == since
    with pytest.raises(Refused) as refused:
        lease.take(place, order("bo"))
    assert "ana@laptop has been deploying here since 20" in refused.value.problem.message
    assert "--break-lock" in refused.value.problem.hint
    assert not lease.give(place, "bo")
    assert not lease.free(place, "bo")
    lease.take(place, order("bo"), by_force=True)
    assert lease.give(place, "bo")
    assert record.lease(place) is None


def test_the_lock_of_somebody_who_is_gone(tmp_path: Path) -> None:
    place = record.Place("tinyapp", tmp_path)
    lease.take(place, order("ana"))
    assert lease.give(place, "bo", by_force=True)
    assert record.lease(place) is None
    assert not lease.give(place, "bo", by_force=True)


def test_a_lock_ends_by_itself(tmp_path: Path) -> None:
    place = record.Place("tinyapp", tmp_path)
    lease.take(place, order("ana", lease=0))
    assert lease.free(place, "bo")
    lease.take(place, order("bo"))
    assert record.lease(place).who == "bo@laptop"
