"""Runs Ansible's programs, and hears what happens on the hosts while they run.

Ansible is a program here, never a library: its licence is the GPL. The callback plugin of the recipe writes a line of
JSON for every result; what the host program answered is in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from buildonce.deployment.verdicts import Problem
from buildonce.errors import BuildError, MissingToolError, ReleaseError
from buildonce.model import Command
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from buildonce.protocols import Host

__all__ = ["Event", "Player"]

_PROGRAMS: Final = "BUILDONCE_ANSIBLE"  # a folder with Ansible's programs, when they are not on the PATH
_OFTEN: Final = 0.2  # seconds
_LONG: Final = 40  # characters of a home in which ssh's sockets would have too long a name: unix(7) allows 108 in all
# ansible-playbook: hosts failed (2), were unreachable (4), or both (6). See ansible.executor.task_queue_manager.
_HOSTS_FAILED: Final = frozenset({0, 2, 4, 6})


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One result of one task on one host."""

    host: str
    task: str
    status: str  # ok, failed, unreachable, skipped, started
    result: Mapping[str, Any]  # what the host program answered; empty for tasks of Ansible's own
    message: str

    @property
    def step(self) -> str:
        """The host program's step, or ``""``."""
        return str(self.result.get("step", ""))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What the host says is wrong; or else what Ansible says of a task that failed."""
        said = tuple(
            Problem(message=str(one.get("message", "")), hint=str(one.get("hint", "")), kind=self._kind(one))
            for one in self.result.get("problems") or ()
        )
        if said or self.status not in ("failed", "unreachable"):
            return said
        return (Problem(message=f"{self.task}: {self.message}".strip(), hint=_hint(self)),)

    def _kind(self, problem: Mapping[str, Any]) -> str:
        return str(problem.get("kind") or self.result.get("kind") or "")


def _hint(event: Event) -> str:
    """What usually helps when Ansible cannot work on a host."""
    known = {
        "Permission denied": "the host does not take this key: see ansible_user and ansible_ssh_private_key_file",
        "Host key verification failed": "the host's key is another than the known one: find out why first",
        "sudo": "this user needs sudo without a password there, or give ansible_become_password",
        "not found": "the host needs python3, or says where it is: ansible_python_interpreter",
        "timed out": "is it up, and does this machine reach its ssh?",
        "refused": "is it up, and does its sshd listen there?",
    }
    return next((hint for words, hint in known.items() if words in event.message), "")


class Player:
    """Ansible with one inventory, for one project."""

    def __init__(self, host: Host, *, inventory: Path, recipe: Path, cwd: Path, logs: Path) -> None:
        """*recipe* is the folder of the playbooks, *logs* the one that gets what Ansible says and all events.

        Raises :class:`MissingToolError` when Ansible is not there.
        """
        self._host, self._inventory, self._recipe, self._cwd, self._logs = host, inventory, recipe, cwd, logs
        self._playbook, self._list = _program("ansible-playbook"), _program("ansible-inventory")

    def hosts(self, *, without: Sequence[str] = ()) -> tuple[str, ...]:
        """The hosts to deploy to, in the inventory's order: of the group ``app``, or all but those of *without*.

        Raises :class:`ReleaseError` for an inventory that cannot be read.
        """
        command = Command(
            argv=(self._list, "--inventory", str(self._inventory), "--list"),
            cwd=str(self._cwd),
            capture=True,
            environment=(("ANSIBLE_INVENTORY_UNPARSED_FAILED", "true"),),
        )
        log = self._logs / "inventory.log"
        try:
            said: dict[str, Any] = json.loads(self._host.run(command, log=log).stdout)
        except (BuildError, ValueError) as error:
            tail = error.log.strip().splitlines() if isinstance(error, BuildError) else []
            raise ReleaseError(
                f"Ansible cannot read the inventory{': ' + tail[-1] if tail else ''}", where=str(self._inventory)
            ) from error
        group = "app" if "app" in said else "all"
        return tuple(one for one in dict.fromkeys(_members(said, group)) if one not in without or group == "app")

    def play(
        self,
        playbook: str,
        hosts: Sequence[str],
        variables: Mapping[str, Any],
        heard: Callable[[Event], None] = lambda _: None,
    ) -> tuple[Event, ...]:
        """Run *playbook* of the recipe on *hosts*; *heard* gets every event as it comes.

        Hosts that fail or are not reached are events, not errors. Raises :class:`BuildError` when Ansible itself fails.
        """
        number = len(list(self._logs.glob("*.jsonl")))
        stem = f"{number:02}-{playbook}"
        events, given = self._logs / f"{stem}.jsonl", self._logs / f"{stem}.vars.json"
        events.touch()
        files.write_atomically(given, json.dumps(dict(variables)).encode(), mode=0o600)
        command = Command(
            argv=(
                *(self._playbook, "--inventory", str(self._inventory), "--limit", ",".join(hosts)),
                *("--extra-vars", f"@{given}", str(self._recipe / f"{playbook}.yml")),
            ),
            cwd=str(self._cwd),
            environment=self._environment(events),
        )
        with _following(events, heard) as found:
            outcome = self._host.run(command, log=self._logs / f"{stem}.log", check=False)
        if outcome.returncode not in _HOSTS_FAILED:
            raise BuildError(
                f"ansible-playbook ended with exit code {outcome.returncode}",
                log=outcome.tail,
                log_path=str(self._logs / f"{stem}.log"),
            )
        return tuple(found)

    def _environment(self, events: Path) -> tuple[tuple[str, str], ...]:
        ours = {
            "RELEASE_EVENTS": str(events),
            "ANSIBLE_CALLBACK_PLUGINS": str(self._recipe / "callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "release_events",
            "ANSIBLE_RETRY_FILES_ENABLED": "false",
            "ANSIBLE_NOCOLOR": "true",
            **self._settings(),
        }
        return tuple(ours.items())

    def _settings(self) -> dict[str, str]:
        """Those of the recipe, unless the user has a configuration of Ansible; then what must not be missing."""
        users = (self._cwd / "ansible.cfg", Path.home() / ".ansible.cfg")
        if "ANSIBLE_CONFIG" in os.environ or any(one.is_file() for one in users):
            found = {
                "ANSIBLE_PIPELINING": "true",
                # A host that hangs is told.
                "ANSIBLE_SSH_EXTRA_ARGS": "-o ServerAliveInterval=5 -o ServerAliveCountMax=3",
            }
        else:
            found = {"ANSIBLE_CONFIG": str(self._recipe / "ansible.cfg")}
        if len(str(Path.home())) > _LONG:
            found["ANSIBLE_SSH_CONTROL_PATH_DIR"] = _sockets()
        return {key: os.environ.get(key, value) for key, value in found.items()}


def _sockets() -> str:
    """A folder with a short name that is this user's alone, for as long as ssh keeps connections."""
    place = Path(tempfile.gettempdir(), f"release-ssh-{os.getuid()}")
    place.mkdir(mode=0o700, exist_ok=True)
    facts = place.lstat()
    mine = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077
    return str(place) if mine else tempfile.mkdtemp(prefix="release-ssh-")


def _program(name: str) -> str:
    """Ansible's program *name*: where the environment says, on the PATH, or beside this Python."""
    places = (os.environ.get(_PROGRAMS), None, str(Path(sys.executable).parent))
    for place in places:
        if (place or place is None) and (found := shutil.which(name, path=place)):
            return found
        if place and place == os.environ.get(_PROGRAMS):
            break
    raise MissingToolError(
        f"the program {name} is not on this machine",
        hint="sudo apt-get install ansible-core, or pipx install ansible-core",
    )


def _members(said: Mapping[str, Any], group: str) -> Iterator[str]:
    found = said.get(group, {})
    yield from found.get("hosts", ())
    for child in found.get("children", ()):
        yield from _members(said, child)


@contextlib.contextmanager
def _following(path: Path, heard: Callable[[Event], None]) -> Iterator[list[Event]]:
    """The events that are written to *path* while the context is open, and all of them when it is closed."""
    found: list[Event] = []
    done = threading.Event()

    def follow() -> None:
        with path.open("rb") as stream:
            rest = b""
            while True:
                over = done.is_set()
                rest += stream.read()
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    found.append(_event(json.loads(line)))
                    heard(found[-1])
                if over:
                    return
                done.wait(_OFTEN)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def _event(said: Mapping[str, Any]) -> Event:
    return Event(
        host=str(said.get("host", "")),
        task=str(said.get("task", "")),
        status=str(said.get("status", "")),
        result=said.get("result") or {},
        message=str(said.get("message") or ""),
    )
