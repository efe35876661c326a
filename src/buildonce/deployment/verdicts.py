"""What became of each host, and of the deployment as a whole. Pure.

A definite no (failed) is kept apart from what nobody could tell (errored): the first goes back, the second waits for a
person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GATE", "HostReport", "HostState", "Problem", "Report", "Verdict", "exit_code", "verdict"]

HostState = Literal[
    "confirmed",  # has the new version, healthy and recorded
    "unchanged",  # had it before
    "rolled_back",  # has what it had before, healthy
    "rollback_failed",
    "unreachable",
    "preflight_failed",
    "verify_failed",  # what came to it is not what was signed
    "failed",  # did not begin to change: staging or a lock failed
    "unknown",
    "not_reached",  # the deployment ended before its batch
]
Verdict = Literal["succeeded", "unchanged", "rolled_back", "partial", "aborted", "errored"]

GATE: Final = "gate"  # the kind of a problem that a rule of the release makes, not the host

_UNTOLD: Final = frozenset({"unreachable", "unknown", "rollback_failed"})
_UNTOUCHED: Final = frozenset({"preflight_failed", "verify_failed", "failed", "not_reached", "unchanged"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """What is wrong on a host."""

    message: str
    hint: str = ""
    kind: str = ""  # "verification", GATE or ""


@dataclass(frozen=True, kw_only=True, slots=True)
class HostReport:
    """One host at the end of a deployment."""

    host: str
    state: HostState
    before: str = ""  # the version that it had; "" for none
    after: str = ""  # the version that it has; "" for none or nobody knows
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A deployment or a roll back, whole."""

    deployment: str
    name: str
    environment: str
    mode: Literal["deploy", "rollback"]
    version: str  # what was asked for; "" when each host goes back to what it had before
    verdict: Verdict
    hosts: tuple[HostReport, ...]
    batches: tuple[tuple[str, ...], ...]
    seconds: float
    folder: str  # where its logs are
    problem: str = ""  # what is wrong beside any host: a hook, the acceptance

    @property
    def exit_code(self) -> int:
        """For the command line."""
        return exit_code(self.verdict, self.hosts)


def verdict(hosts: Sequence[HostReport], *, tried: bool, problem: str = "") -> Verdict:
    """The whole from its *hosts*. *tried* says that the deployment got as far as changing one.

    With *problem* something beside the hosts failed, such as the acceptance.
    """
    states = {one.state for one in hosts}
    if tried and states & _UNTOLD:
        return "errored"
    if not tried:
        return "unchanged" if states == {"unchanged"} and not problem else "aborted"
    if states <= {"confirmed", "unchanged"}:
        return "succeeded" if not problem else "partial"
    if "confirmed" in states:
        return "partial"
    return "rolled_back" if "rolled_back" in states else "aborted"


def exit_code(found: Verdict, hosts: Sequence[HostReport]) -> int:
    """As ``docs/reference/exit-codes.md`` tells."""
    if found in ("succeeded", "unchanged"):
        return 0
    if found in ("partial", "errored"):
        return 7
    kinds = {problem.kind for one in hosts for problem in one.problems}
    if found == "aborted" and any(one.state == "verify_failed" for one in hosts):
        return 4
    return 8 if found == "aborted" and GATE in kinds else 1
