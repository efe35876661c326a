"""Ansible's programs as they are called, and what is made of their answers. Real: tests/integration/test_deploy.py."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from buildonce.deployment.playing import Event, Player
from buildonce.errors import BuildError, MissingToolError, ReleaseError
from buildonce.system.run import HostRunner

if TYPE_CHECKING:
    from pathlib import Path

LISTED = {
    "app": {"hosts": ["h1", "h2"], "children": ["more"]},
    "more": {"hosts": ["h3", "h1"]},
    "all": {"children": ["ungrouped", "app", "balancer"]},
    "balancer": {"hosts": ["lb"]},
    "ungrouped": {"hosts": ["h9"]},
}
PLAYS = """#!/bin/sh
printf '%s\\n' "$@" >"$PWD/argv"
cat "${6#@}" >"$PWD/variables"
cat >>"$RELEASE_EVENTS" <<'END'
{"host": "h1", "task": "Stage", "status": "ok", "result": {"step": "stage", "ok": true}}
{"host": "h2", "task": "Stage", "status": "unreachable", "message": "Permission denied (publickey)"}
END
exit 4
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "programs"
    place.mkdir()
    monkeypatch.setenv("BUILDONCE_ANSIBLE", str(place))
    _program(place / "ansible-inventory", f"#!/bin/sh\ncat <<'END'\n{json.dumps(LISTED)}\nEND\n")
    _program(place / "ansible-playbook", PLAYS)
    return place


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def player(programs: Path, tmp_path: Path) -> Player:
    logs = tmp_path / "logs"
    logs.mkdir()
    return Player(HostRunner(), inventory=tmp_path / "hosts.ini", recipe=tmp_path / "recipe", cwd=tmp_path, logs=logs)


def test_the_hosts_of_the_application(player: Player) -> None:
    assert player.hosts(without=("lb",)) == ("h1", "h2", "h3")


def test_an_inventory_without_that_group(player: Player, programs: Path) -> None:
    said = json.dumps({"all": {"children": ["web", "lbs"]}, "web": {"hosts": ["h1"]}, "lbs": {"hosts": ["lb"]}})
    _program(programs / "ansible-inventory", f"#!/bin/sh\necho '{said}'\n")
    assert player.hosts(without=("lb",)) == ("h1",)


def test_an_inventory_that_cannot_be_read(player: Player, programs: Path) -> None:
    _program(programs / "ansible-inventory", "#!/bin/sh\necho 'ERROR! line 3: what is this' >&2\nexit 5\n")
    with pytest.raises(ReleaseError, match="line 3: what is this"):
        player.hosts()


def test_events_come_while_it_runs(player: Player, tmp_path: Path) -> None:
    heard: list[Event] = []
    found = player.play("prepare", ("h1", "h2"), {"release_name": "beat"}, heard.append)
    assert list(found) == heard
    assert [(one.host, one.step, one.status) for one in found] == [("h1", "stage", "ok"), ("h2", "", "unreachable")]
    (problem,) = found[1].problems
    assert problem.message == "Stage: Permission denied (publickey)"
    assert "does not take this key" in problem.hint
    argv = (tmp_path / "argv").read_text().splitlines()
    assert argv[:4] == ["--inventory", str(tmp_path / "hosts.ini"), "--limit", "h1,h2"]
    assert argv[-1] == str(tmp_path / "recipe/prepare.yml")
    assert json.loads((tmp_path / "variables").read_text()) == {"release_name": "beat"}


def test_ansible_itself_fails(player: Player, programs: Path) -> None:
    _program(programs / "ansible-playbook", "#!/bin/sh\necho 'the role was not found' >&2\nexit 1\n")
    with pytest.raises(BuildError) as caught:
        player.play("prepare", ("h1",), {})
    assert "the role was not found" in caught.value.log


def test_without_ansible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILDONCE_ANSIBLE", str(tmp_path))
    with pytest.raises(MissingToolError, match="ansible-playbook") as caught:
        Player(HostRunner(), inventory=tmp_path, recipe=tmp_path, cwd=tmp_path, logs=tmp_path)
    assert "ansible-core" in caught.value.problems[0].hint
