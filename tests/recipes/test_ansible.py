"""The recipe "ansible", played on this machine: hosts are folders here, and the host program is a stand-in."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import zipapp
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jinja2
import pytest
import yaml
from jinja2 import nodes

from buildonce.system import share
from tests import ansibles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

RECIPE = share.path("recipes", "ansible")
FILES = sorted(RECIPE.rglob("*.yml"))
PLAYBOOKS = sorted(set(RECIPE.glob("*.yml")) - {RECIPE / "vars.yml"})

# All that playbooks may know of. Which environment it is, is not among them: an environment is an inventory.
GIVEN = {"release_files", "release_name", "release_migrate", "release_balancer", "release_break_lock", "release_server"}
OURS = {
    *("release_action", "release_answer", "release_arguments", "release_back", "release_balanced", "release_check"),
    *("release_home", "release_hooked", "release_hosts", "release_keys", "release_lenient", "release_plan"),
    *("release_program", "release_result", "release_text"),
}
ANSIBLES = {
    *("ansible_failed_task", "ansible_play_hosts_all", "groups", "hostvars", "inventory_hostname"),
    *("lookup", "playbook_dir"),
}
OF_THE_PLAN = {"deployment", "mode", "name", "version"}

# Answers as the host program does; what it is to answer on this host is in a file there.
STAND_IN = """
import base64, json, pathlib, sys
step, words = sys.argv[1], sys.argv[2:]
given = dict(zip(words[::2], words[1::2]))
home = pathlib.Path(sys.argv[0]).parent
if "--plan-json" in given:
    plan = json.loads(base64.b64decode(given["--plan-json"]))
else:
    plan = json.loads((home / "plan.json").read_text())
    with (home / "steps").open("a") as steps:
        print(step, given["--name"], given["--deployment"], file=steps)
print("working", file=sys.stderr)
answer = {"step": step, "ok": True, "changed": step != "check", "problems": [], "plan": plan}
if (home / step).exists():
    said = (home / step).read_text()
    if said == "crash":
        sys.exit("something that nobody thought of")
    answer.update(json.loads(said))
print(json.dumps(answer))
sys.exit(not answer["ok"])
"""
PLAN = {
    "deployment": "d1",
    "name": "orders",
    "mode": "deploy",
    "version": "1.1",
    "service": {"command": "serve '{{ of.no }} {% use %}' \N{EURO SIGN}", "migrate": "orders migrate"},
}
BAD = json.dumps({"ok": False, "problems": [{"message": "it is bad", "hint": ""}]})
BACK = json.dumps({"state": "rolled_back", "version": "1.0"})
LOST = "ansible_connection=ssh ansible_host=127.0.0.1 ansible_port={port}"


@dataclass(frozen=True)
class Event:
    """A line of the callback."""

    at: float
    host: str
    play: str
    task: str
    status: str
    changed: bool
    result: Mapping[str, Any]
    message: str


@dataclass(frozen=True)
class Played:
    """What came of a playbook."""

    code: int
    events: tuple[Event, ...]
    said: str

    def of(self, host: str) -> list[tuple[str, str]]:
        """What was done for a host, and how it ended."""
        return [(one.task, one.status) for one in self.events if one.host == host and one.status in ENDS]

    def failed(self, host: str) -> dict[str, str]:
        """What failed there, and why."""
        return {one.task: one.message for one in self.events if one.host == host and one.status in ENDS - {"ok"}}


ENDS = {"ok", "failed", "unreachable"}


@dataclass(frozen=True)
class Site:
    """Somebody with the recipe, who has hosts."""

    root: Path
    ansible: Path  # the folder of its programs

    def host(self, name: str, line: str = "", **answers: str) -> None:
        """One more host; *answers* are those of its steps."""
        with (self.root / "hosts.ini").open("a") as inventory:
            inventory.write(f"{name} {line or 'ansible_connection=local'}\n")
        home = self.home(name)
        home.mkdir(parents=True)
        shutil.copy(self.root / "release/host.pyz", home)
        (home / "plan.json").write_text(json.dumps(PLAN))
        (home / "rollback").write_text(BACK)
        for step, said in answers.items():
            (home / step).write_text(said)

    def home(self, name: str) -> Path:
        return self.root / "var" / name

    def steps(self, name: str) -> list[str]:
        """What the host program was called for from its place on the host."""
        text = (self.home(name) / "steps").read_text() if (self.home(name) / "steps").exists() else ""
        assert all(line.split()[1:] == ["orders", "d1"] for line in text.splitlines())
        return [line.split()[0] for line in text.splitlines()]

    def play(self, playbook: str, **variables: Any) -> Played:
        given = {
            "release_files": str(self.root / "release"),
            "release_home": f"{self.root}/var/{{{{ inventory_hostname }}}}",
            "release_keys": f"{self.root}/var/{{{{ inventory_hostname }}}}/keys/orders.gpg",
            "ansible_become": False,
            **variables,
        }
        events = self.root / "events.jsonl"
        events.write_text("")
        done = subprocess.run(
            [self.ansible / "ansible-playbook", "-i", "hosts.ini", "-e", json.dumps(given), RECIPE / f"{playbook}.yml"],
            env=environment(RELEASE_EVENTS=str(events)),
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
        )
        rows = [Event(**json.loads(line)) for line in events.read_text().splitlines()]
        return Played(done.returncode, tuple(rows), done.stdout + done.stderr)


def environment(**more: str) -> dict[str, str]:
    """Ansible with the settings of the recipe, and none of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return {**kept, "LC_ALL": "C.UTF-8", "ANSIBLE_CONFIG": str(RECIPE / "ansible.cfg"), **more}


VERSIONS = [
    pytest.param(ansibles.newest, id="newest"),
    pytest.param(ansibles.oldest, id="oldest", marks=pytest.mark.integration),
]


@pytest.fixture(params=VERSIONS)
def ansible(request: pytest.FixtureRequest) -> Path:
    """The programs of each version that the recipe is for."""
    find: Callable[[], Path] = request.param
    return find()


@pytest.fixture
def site(tmp_path: Path, ansible: Path) -> Site:
    return new_site(tmp_path, ansible)


@pytest.fixture
def mine(tmp_path: Path) -> Site:
    """For what does not depend on the version."""
    return new_site(tmp_path, ansibles.newest())


def new_site(tmp_path: Path, ansible: Path) -> Site:
    (tmp_path / "hosts.ini").touch()
    source = tmp_path / "source"
    source.mkdir()
    (source / "__main__.py").write_text(STAND_IN)
    (tmp_path / "release").mkdir()
    zipapp.create_archive(source, tmp_path / "release/host.pyz")
    (tmp_path / "release/plan.json").write_text(json.dumps(PLAN))
    return Site(tmp_path, ansible)


@pytest.fixture
def hook(tmp_path: Path) -> dict[str, Any]:
    """A balancer of one's own: it writes down what it is told."""
    line = f'echo "$RELEASE_ACTION $RELEASE_ADDRESS $RELEASE_NAME $RELEASE_VERSION" >>{tmp_path}/hook-$RELEASE_HOST'
    return {"hook": {"drain": line, "undrain": line}}


def told(site: Site, host: str) -> list[str]:
    """What the balancer was told of a host."""
    place = site.root / f"hook-{host}"
    rows = [line.split() for line in place.read_text().splitlines()] if place.exists() else []
    assert all(row[1:] == [host, "orders", "1.1"] for row in rows)
    return [row[0] for row in rows]


@pytest.fixture
def closed() -> Iterator[int]:
    """A port of this machine at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_one_batch(site: Site, hook: dict[str, Any]) -> None:
    """Each host has an end of its own, whatever becomes of the others."""
    site.host("good")
    site.host("sick", check=BAD)
    site.host("late", confirm=BAD)
    site.host("stuck", switch="crash", rollback=BAD)
    site.host("shy", arm=BAD)
    site.host("new", check=BAD, rollback=json.dumps({"state": "rolled_back", "version": ""}))
    played = site.play("deploy", release_balancer=hook)
    assert played.code == 2, played.said

    assert site.steps("good") == ["arm", "migrate", "switch", "check", "confirm"]
    assert told(site, "good") == ["drain", "undrain"]
    assert played.failed("good") == {}

    assert site.steps("sick") == ["arm", "switch", "check", "rollback"]
    assert told(site, "sick") == ["drain", "undrain"]
    assert played.failed("sick") == {"Check": "it is bad", "Failed": "Check failed, the host is back at 1.0"}
    assert played.of("sick")[-3:] == [("Rollback", "ok"), ("Balancer by hook", "ok"), ("Failed", "failed")]

    assert site.steps("late") == ["arm", "switch", "check", "confirm", "rollback"]
    assert told(site, "late") == ["drain", "undrain", "drain", "undrain"], "not switched under load"

    assert site.steps("stuck") == ["arm", "switch", "rollback"]
    assert told(site, "stuck") == ["drain"], "it is not known to be healthy"
    assert "something that nobody thought of" in played.failed("stuck")["Switch"]
    assert played.failed("stuck")["Rollback"] == "it is bad"

    assert site.steps("shy") == ["arm", "rollback"]
    assert told(site, "shy") == []

    assert site.steps("new") == ["arm", "switch", "check", "rollback"]
    assert told(site, "new") == ["drain"], "nothing runs on it"
    assert played.failed("new")["Failed"] == "Check failed, the host is back at nothing"


def test_a_migration_that_fails_stops_all_before_the_switch(site: Site, hook: dict[str, Any]) -> None:
    """Also those that were failed already."""
    site.host("first", migrate=BAD)
    site.host("second")
    site.host("third", arm=BAD)
    played = site.play("deploy", release_balancer=hook)
    assert played.code == 2, played.said
    assert site.steps("first") == ["arm", "migrate", "rollback"]
    assert site.steps("second") == site.steps("third") == ["arm", "rollback"]
    assert played.failed("second")["Migration"] == "first did not get the migration done"
    assert [told(site, name) for name in ("first", "second", "third")] == [[], [], []]

    arm = [one for one in played.events if (one.host, one.task) == ("second", "Arm")]
    assert [(one.status, one.play, one.changed) for one in arm] == [
        ("started", "Deploy", False),
        ("ok", "Deploy", True),
    ]
    assert arm[1].result == {"step": "arm", "ok": True, "changed": True, "problems": [], "plan": PLAN}
    migrate = [one for one in played.events if (one.host, one.task) == ("first", "Migrate")][-1]
    assert (migrate.status, migrate.message, migrate.result["ok"]) == ("failed", "it is bad", False)
    assert ("second", "Migrate", "skipped") in [(one.host, one.task, one.status) for one in played.events]
    assert [one.at for one in played.events] == sorted(one.at for one in played.events)


def test_hosts_that_are_lost(site: Site, closed: int) -> None:
    """The others come to an end of their own: none switches to what nobody migrated for."""
    site.host("lost", LOST.format(port=closed))
    site.host("other")
    played = site.play("deploy", release_balancer=None, release_migrate=False)
    assert played.code == 4, played.said
    assert played.of("lost") == [("Arm", "unreachable")]
    # Which of the two depends on whether ssh ends before all is sent to it.
    assert re.match("ssh: connection refused: |ssh: the connection broke: ", played.failed("lost")["Arm"])
    assert site.steps("other") == ["arm", "switch", "check", "confirm"]

    (site.home("other") / "steps").unlink()
    assert site.play("deploy", release_balancer=None).code == 4
    assert site.steps("other") == ["arm", "rollback"]


def test_a_balancer_that_is_lost(site: Site, closed: int) -> None:
    """It is not the host that is lost: the host goes back, and is not taken for unreachable."""
    site.host("one")
    with (site.root / "hosts.ini").open("a") as inventory:
        inventory.write(f"[balancers]\nlb {LOST.format(port=closed)}\n")
    haproxy = {"haproxy": {"host": "lb", "backend": "web", "socket": "/run/lb.sock"}}
    for playbook in ("preflight", "deploy"):
        played = site.play(playbook, release_balancer=haproxy)
        assert played.code == 2, played.said
        assert {one.host for one in played.events} == {"one"}, "the balancer gets no release"
        assert played.failed("one")["Balancer"].startswith("lb: ssh: connection refused: ")
        assert "unreachable" not in {one.status for one in played.events}
    assert site.steps("one") == ["arm", "migrate", "rollback"]


def test_the_plan_comes_whole_with_steps_that_leave_nothing(site: Site) -> None:
    """Whatever is in it: Ansible 2.14 takes text for a dictionary, and all versions take braces for a template."""
    (site.root / "hosts.ini").write_text("stranger ansible_connection=local\n[app]\n")
    site.host("one")
    for playbook in ("preflight", "status", "unlock"):
        played = site.play(playbook)
        assert played.code == 0, played.said
        (event,) = (one for one in played.events if one.status == "ok")
        assert (event.host, event.result["step"], event.result["plan"]) == ("one", playbook, PLAN)


def test_what_is_brought(site: Site) -> None:
    """Byte for byte, in an order that leaves the files of another deployment alone; going back brings no release."""
    site.host("one")
    home, files = site.home("one"), site.root / "release"
    (home / "host.pyz").unlink()
    (files / "keys.gpg").write_bytes(bytes(range(256)) + b" \n\n")
    (files / "parcel.tar").write_bytes(b"parcel")
    first = site.play("prepare")
    assert first.code == 0, first.said
    assert first.of("one") == [(step, "ok") for step in ("Lock", "Copy", "Parcel", "Stage")]
    for name, place in (("host.pyz", "host.pyz"), ("keys.gpg", "keys/orders.gpg"), ("parcel.tar", "parcel.tar")):
        assert (home / place).read_bytes() == (files / name).read_bytes()
    assert (home / "parcel.tar").stat().st_mode & 0o777 == 0o600
    assert (home / "keys").stat().st_mode & 0o777 == 0o755
    assert {path.name for path in (*home.iterdir(), *(home / "keys").iterdir()) if path.name.startswith(".")} == set()

    (home / "parcel.tar").unlink()
    back = site.play("rollback", release_balancer=None)
    assert back.code == 0, back.said
    lock, copied = (one for one in back.events if one.status == "ok" and one.task in ("Lock", "Copy"))
    assert lock.result["plan"] == {**PLAN, "mode": "rollback", "version": ""}
    assert copied.changed is False
    assert not (home / "parcel.tar").exists()
    assert site.steps("one") == ["stage", "stage", "arm", "switch", "check", "confirm"], "and no migration"


def test_a_lock_that_is_taken(mine: Site) -> None:
    """Nothing is written."""
    (mine.root / "source/__main__.py").write_text(f"import sys; print({BAD!r}); sys.exit(1)")
    zipapp.create_archive(mine.root / "source", mine.root / "release/host.pyz")
    mine.host("one")
    (mine.root / "release/host.pyz").write_bytes((mine.root / "release/host.pyz").read_bytes() + b"\n")
    before = (mine.home("one") / "host.pyz").read_bytes()
    played = mine.play("prepare")
    assert (played.code, played.of("one")) == (2, [("Lock", "failed")])
    assert played.failed("one") == {"Lock": "it is bad"}
    assert (mine.home("one") / "host.pyz").read_bytes() == before


def test_a_lock_that_is_not_there_is_no_failure(mine: Site, closed: int) -> None:
    """Nor is a host that cannot be reached: its lock ends by itself."""
    (mine.root / "source/__main__.py").write_text("import sys; sys.exit('no')")
    zipapp.create_archive(mine.root / "source", mine.root / "release/host.pyz")
    mine.host("one")
    mine.host("lost", LOST.format(port=closed))
    played = mine.play("unlock")
    assert played.code == 0, played.said
    assert played.of("one") == [("Unlock", "ok")]


def test_events_are_no_reason_to_stop(mine: Site) -> None:
    """Wherever they should go to."""
    mine.host("one")
    done = subprocess.run(
        [
            *(mine.ansible / "ansible-playbook", "-i", "hosts.ini", RECIPE / "status.yml"),
            *("-e", "ansible_become=false", "-e", f"release_files={mine.root}/release"),
        ],
        env=environment(RELEASE_EVENTS="/dev/full"),
        cwd=mine.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "release_events: OSError" in done.stdout + done.stderr


def test_no_host_is_meant(mine: Site) -> None:
    """An empty inventory is told, since Ansible itself ends with 0."""
    (mine.root / "hosts.ini").write_text("[app]\n")
    played = mine.play("preflight")
    assert [(one.host, one.status, one.message) for one in played.events] == [
        ("", "failed", "no host of the inventory is meant")
    ]


def test_syntax(ansible: Path, tmp_path: Path) -> None:
    """All playbooks, with the version at hand; without a host."""
    (tmp_path / "hosts.ini").write_text("[app]\n")
    command: list[str | Path] = [ansible / "ansible-playbook", "--syntax-check", "-i", tmp_path / "hosts.ini"]
    command += PLAYBOOKS
    done = subprocess.run(command, env=environment(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(re.findall(r"playbook: (.*)", done.stdout)) == [str(path) for path in PLAYBOOKS]


def test_lint(tmp_path: Path) -> None:
    """The strictest profile of ansible-lint, without network."""
    shutil.copytree(RECIPE, tmp_path / "recipe")  # it writes beside what it reads
    programs = ansibles.newest()
    done = subprocess.run(
        [programs / "ansible-lint", "--offline", "--strict", "--profile", "production", "--nocolor", "."],
        env=environment(PATH=f"{programs}:{os.environ['PATH']}", ANSIBLE_HOME=str(tmp_path / "home")),
        cwd=tmp_path / "recipe",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "Profile 'production' was required, and it passed." in done.stderr


def tasks(found: Any) -> Iterator[dict[str, Any]]:
    """All tasks and blocks of a list of plays or tasks."""
    for one in found:
        yield one
        for section in ("tasks", "block", "rescue", "always"):
            yield from tasks(one.get(section, ()))


# What stands beside the module of a task; of a play, all.
KEYWORDS = {
    *(
        "name",
        "when",
        "register",
        "changed_when",
        "failed_when",
        "vars",
        "loop",
        "loop_control",
        "delegate_to",
        "become",
    ),
    *("environment", "ignore_unreachable", "block", "rescue", "tasks"),
    *("hosts", "gather_facts", "strategy", "vars_files"),
}


@pytest.mark.parametrize("path", sorted({*FILES} - {RECIPE / "vars.yml"}), ids=lambda path: path.name)
def test_only_modules_that_every_ansible_has(path: Path) -> None:
    for one in tasks(yaml.safe_load(path.read_text())):
        modules = [word for word in one if word not in KEYWORDS]
        assert all(word.startswith("ansible.builtin.") for word in modules), one
        assert len(modules) == (0 if {"hosts", "block"} & set(one) else 1), one


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.name)
def test_every_play_works_as_root_and_asks_nothing_first(path: Path) -> None:
    for play in yaml.safe_load(path.read_text()):
        if "hosts" in play:
            assert (play["become"], play["gather_facts"]) == (True, False)
            assert not {"serial", "any_errors_fatal", "max_fail_percentage"} & set(play)


def texts(found: Any) -> Iterator[str]:
    """The Jinja in a value of YAML: templates, and conditions, which are written bare."""
    if isinstance(found, dict):
        for key, value in found.items():
            bare = key in ("when", "changed_when", "failed_when")
            rows = value if isinstance(value, list) else [value]
            yield from (f"{{{{ {row} }}}}" for row in rows) if bare else texts(value)
    elif isinstance(found, list):
        for value in found:
            yield from texts(value)
    elif isinstance(found, str):
        yield found


def beyond(found: Any) -> set[str]:
    """What the Jinja in *found* asks for and must not: variables that are not listed above, and more of the plan."""
    asked = set()
    for text in texts(found):
        tree = jinja2.Environment(autoescape=True).parse(text)
        asked |= {node.name for node in tree.find_all(nodes.Name)} - GIVEN - OURS - ANSIBLES
        for node in tree.find_all(nodes.Getattr):
            if isinstance(node.node, nodes.Name) and node.node.name == "release_plan" and node.attr not in OF_THE_PLAN:
                asked.add(f"release_plan.{node.attr}")
        for item in tree.find_all(nodes.Getitem):
            if isinstance(item.node, nodes.Name) and item.node.name == "release_plan":
                asked.add("release_plan[…]")
    return asked


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_branch_on_the_environment(path: Path) -> None:
    """The same playbook for staging and production: which of them it is cannot be asked."""
    text = path.read_text()
    assert beyond(yaml.safe_load(text)) == set()
    assert not re.search(r"(?i)staging|production", text)
    named = re.findall(r"(?i)\w*environment\w*", re.sub(r"#.*", "", text))
    assert set(named) <= {"environment"}  # the keyword: variables of a process


@pytest.mark.parametrize(
    ("task", "asked"),
    [
        ({"when": "release_environment == 'production'"}, {"release_environment"}),
        ({"when": ["release_back", "stage != 'test'"]}, {"stage"}),
        ({"vars": {"release_home": "{{ env | default('') }}"}}, {"env"}),
        ({"block": [{"when": "inventory_file is search('prod')"}]}, {"inventory_file"}),
        ({"when": "'production' in group_names"}, {"group_names"}),
        ({"when": "release_plan.environment == 'x'"}, {"release_plan.environment"}),
        ({"when": "release_plan['environment'] == 'x'"}, {"release_plan[…]"}),
    ],
)
def test_a_branch_on_the_environment_would_be_found(task: Any, asked: set[str]) -> None:
    assert beyond([task]) == asked


def test_all_that_is_listed_is_used() -> None:
    """A list that is too long would let too much pass."""
    text = "\n".join(path.read_text() for path in FILES)
    assert {name for name in GIVEN | OURS | ANSIBLES if not re.search(rf"\b{name}\b", text)} == set()


def test_the_readme_names_every_file_and_variable() -> None:
    text = (RECIPE / "README.md").read_text()
    files = {path.relative_to(RECIPE).as_posix() for path in RECIPE.rglob("*") if path.is_file()}
    files = {path for path in files if "__pycache__" not in path} - {"README.md"}
    assert {path for path in files if f"`{path}`" not in text} == set()
    assert {name for name in GIVEN - {"release_name"} if f"| `{name}` |" not in text} == set()
