"""The one way into the network of an environment: a container that listens on 127.0.0.1 and hands connections on.

The application itself has no way out. Its health is asked from there, by the way that a user's request goes.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from buildonce.errors import BuildError, ReleaseError
from buildonce.needs import APPLICATION
from buildonce.system import share
from buildonce.system.services import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from buildonce.system.services import Found, Services

__all__ = ["ROLE", "Expected", "await_answer", "await_health", "leads", "open_gate", "published", "settle"]

ROLE: Final = "gate"

_PORT: Final = "port"  # a fact of a gate: the application's port
_INTERPRETER: Final = "interpreter"
_INSIDE: Final = 20000  # the gate's own port: one that everybody may listen on
_NOBODY: Final = "65534:65534"
_SUCCESSES: Final = 3  # in a row
_INTERVAL: Final = 0.3  # seconds
_PAUSE: Final = 0.5
_AGAIN: Final = 20.0
_SETTLES: Final = 10  # intervals
_SLOW: Final = "the end of its output is above; give it longer with `timeout` in [tool.release.up]"
_MUTE: Final = (
    'let it answer with JSON that has its "version", or with a header X-Release: who says 200 may be an old one'
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What the application has to answer."""

    health: str
    version: str
    timeout: float


def open_gate(services: Services, image: str, interpreter: str, port: int, *, at: int = 0, role: str = ROLE) -> Found:
    """Hand 127.0.0.1:*at* (0: any free port) on to the application's *port*.

    *image* has the *interpreter*.
    """
    gate = Service(
        role=role,
        image=image,
        aliases=(role,),
        entrypoint=(interpreter, "-I", "-S", "-c", _script()),
        command=("forward", str(_INSIDE), APPLICATION, str(port)),
        ports={_INSIDE: at},
        user=_NOBODY,
        strict=True,
        facts={_PORT: str(port), _INTERPRETER: interpreter},
    )
    found = services.start(gate)
    if at:
        return found
    # The engine chooses a new port at every start: the one that it chose now is to stay.
    services.remove(found)
    return services.start(replace(gate, ports={_INSIDE: published(found)}))


def published(opened: Found) -> int:
    """The port of 127.0.0.1 that a gate listens on; 0 for one that does not run."""
    return opened.ports.get(_INSIDE, 0)


def leads(opened: Found, port: int | None) -> bool:
    """Whether a gate leads to that port of the application."""
    return opened.facts.get(_PORT) == str(port)


def await_answer(services: Services, gate: Found) -> None:
    """Wait until the application answers anything, and not for ever."""
    end = time.monotonic() + _AGAIN
    with contextlib.suppress(BuildError):
        while time.monotonic() < end and not _ask(services, gate, "/")["status"]:
            time.sleep(_INTERVAL)


def await_health(services: Services, gate: Found, expected: Expected, *, alive: Callable[[], None]) -> None:
    """Wait until the application answers 200 with its version several times in a row.

    *alive* raises when it never will. Raises :class:`ReleaseError` with what was answered last.
    """
    end = time.monotonic() + expected.timeout
    successes = 0
    while successes < _SUCCESSES:
        alive()
        answer = _ask(services, gate, expected.health)
        good, last = _judge(answer, expected)
        successes = successes + 1 if good else 0
        if time.monotonic() > end:
            raise ReleaseError(
                f"it was not healthy within {expected.timeout:g} s: {expected.health} answers {last}",
                hint=_MUTE if answer["status"] == HTTPStatus.OK and not answer["version"] else _SLOW,
            )
        if successes < _SUCCESSES:
            time.sleep(_INTERVAL if good else _PAUSE)


def settle(alive: Callable[[], None]) -> None:
    """For an application that listens nowhere: it stays up for a while, or *alive* raises."""
    for _ in range(_SETTLES):
        time.sleep(_INTERVAL)
        alive()


def _ask(services: Services, gate: Found, path: str) -> dict[str, Any]:
    program = (gate.facts[_INTERPRETER], "-I", "-S", "-c", _script())
    said = services.execute(gate, *program, "ask", f"http://127.0.0.1:{_INSIDE}{path}")
    if said.code:
        raise BuildError("the gate of the environment does not work", log=said.output)
    return dict(json.loads(said.output))


def _judge(answer: dict[str, Any], expected: Expected) -> tuple[bool, str]:
    """Whether it is a good answer, and what it is."""
    status, version = answer["status"], answer["version"]
    if status != HTTPStatus.OK:
        return False, str(status) if status else f"nothing: {answer['why']}"
    if version != expected.version:
        what = f"version {version}" if version else "no version, in JSON or in the header X-Release"
        return False, f"200 and {what}, not {expected.version}"
    return True, "200"


def _script() -> str:
    return share.path("recipes", "local", "gate.py").read_text("utf-8")
