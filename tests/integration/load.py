"""Users: they ask the balancer of a fleet all the time, and count what went wrong."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.integration import hosts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.integration.fleet import Fleet, Node

__all__ = ["Count", "Load", "running"]

SCRIPT: Final = Path(__file__).with_name("asking.py")
RESULT: Final = "/run/load.json"


@dataclass(frozen=True, kw_only=True)
class Count:
    """What users have seen."""

    sent: int
    failed: int  # no answer, or another status than 200
    versions: Mapping[str, int]  # how many answers each gave
    failures: Sequence[str]  # the first of them

    def __str__(self) -> str:
        return f"{self.sent} requests sent, {self.failed} failed"


@dataclass
class Load:
    """It goes on."""

    balancer: Node

    def count(self) -> Count:
        """What has been seen so far; at the end of the context, all of it."""
        return Count(**json.loads(self.balancer.run("cat", RESULT)))

    def goes_on(self, requests: int = 50) -> None:
        """Wait until that many more were sent."""
        before = self.count().sent
        hosts.until(lambda: self.count().sent >= before + requests, told=lambda: str(self.count()))

    def answers(self, version: str) -> None:
        """Wait until that version answers."""
        hosts.until(lambda: version in self.count().versions, told=lambda: str(self.count().versions))


@contextlib.contextmanager
def running(fleet: Fleet, *paths: str) -> Iterator[Load]:
    """Users who ask for *paths* (``/`` and ``/slow``, which takes a second), until the end of the context."""
    script = fleet.balancer.put(SCRIPT, "/srv")
    fleet.balancer.run("rm", "-f", RESULT)
    ask = ("/usr/bin/python3", "-I", script, RESULT, "http://127.0.0.1:80", *(paths or ("/", "/slow")))
    fleet.balancer.run("systemd-run", "--quiet", "--collect", "--unit=load", *ask)
    try:
        hosts.until(lambda: fleet.balancer.succeeds("test", "-e", RESULT), told=fleet.balancer.told)
        yield Load(fleet.balancer)
    finally:
        fleet.balancer.run("systemctl", "stop", "load")
