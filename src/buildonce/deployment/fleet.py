"""What is known of each host while a deployment goes on, from what its steps answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from buildonce.deployment.verdicts import HostReport, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from buildonce.deployment.playing import Event
    from buildonce.deployment.verdicts import HostState

__all__ = ["Fleet"]

# How a step that failed before anything was changed is told.
_BEFORE: Final = frozenset({"preflight", "lock", "stage", ""})
_SUMMARY: Final = "Failed"  # the recipe's task that makes a host count as failed: it says what is known already


@dataclass
class _Known:
    state: HostState = "not_reached"
    before: str = ""
    after: str = ""
    problems: list[Problem] = field(default_factory=list)
    skew: float = 0.0  # seconds that its clock is ahead
    locked: bool = False  # by another deployment, when preflight looked


class Fleet:
    """The hosts of a deployment, in the inventory's order."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._known = {host: _Known() for host in hosts}

    def reports(self) -> tuple[HostReport, ...]:
        """What is known now."""
        return tuple(
            HostReport(host=host, state=one.state, before=one.before, after=one.after, problems=tuple(one.problems))
            for host, one in self._known.items()
        )

    def of(self, *states: HostState) -> tuple[str, ...]:
        """The hosts that are in one of *states*."""
        return tuple(host for host, one in self._known.items() if one.state in states)

    def locked(self) -> tuple[str, ...]:
        """The hosts on which nothing had to change, and which had the lock of another deployment."""
        return tuple(host for host, one in self._known.items() if one.locked and one.state == "unchanged")

    def before(self, host: str) -> str:
        """The version that it had; "" for none."""
        return self._known[host].before

    def add(self, host: str, problem: Problem) -> None:
        """One more problem of *host*."""
        if problem not in self._known[host].problems:
            self._known[host].problems.append(problem)

    def inspected(self, events: Iterable[Event], *, now: float, most_skew: float) -> None:
        """What preflight found; a host whose clock is more than *most_skew* seconds off *now* fails it."""
        found = {event.host: event for event in events if event.status in ("ok", "failed", "unreachable")}
        for host, one in self._known.items():
            event = found.get(host)
            if event is None:
                one.state, one.problems = "unknown", [Problem(message="Ansible said nothing of it")]
                continue
            one.problems = list(event.problems)
            one.before = one.after = str(event.result.get("current") or "")
            one.locked = bool(event.result.get("locked"))
            skew = float(event.result.get("clock") or now) - now
            if abs(skew) > most_skew:
                hint = "timedatectl set-ntp true: signatures and repositories have times"
                ahead = "ahead" if skew > 0 else "behind"
                one.problems.append(Problem(message=f"its clock is {_span(abs(skew))} {ahead}", hint=hint))
            if event.status == "unreachable":
                one.state = "unreachable"
            elif one.problems or event.status == "failed":
                one.state = "verify_failed" if _verification(one.problems) else "preflight_failed"
            elif event.result.get("unchanged"):
                one.state = "unchanged"
            else:
                one.state = "not_reached"

    def prepared(self, events: Iterable[Event]) -> bool:
        """What became of staging; whether every host is ready."""
        ready = True
        for event in events:
            if event.status not in ("failed", "unreachable") or event.host not in self._known:
                continue
            ready, one = False, self._known[event.host]
            one.problems = list(event.problems)
            unreachable: HostState = "unreachable" if event.status == "unreachable" else "failed"
            one.state = "verify_failed" if _verification(one.problems) else unreachable
        return ready

    def deployed(self, hosts: Iterable[str], events: Sequence[Event]) -> None:
        """What became of the *hosts* of a batch, or of those that were sent back."""
        for host in hosts:
            self._deployed(self._known[host], [event for event in events if event.host == host])

    def _deployed(self, one: _Known, events: Sequence[Event]) -> None:
        for event in events:
            if event.status == "failed" and event.task != _SUMMARY:
                one.problems += [problem for problem in event.problems if problem not in one.problems]
        steps = {event.step: event for event in events if event.status in ("ok", "failed") and event.step}
        back = steps.get("rollback")
        if back is not None:
            state = str(back.result.get("state") or "unknown")
            one.state = "rollback_failed" if state == "rollback_failed" or not back.result.get("ok") else "rolled_back"
            one.after = str(back.result.get("version") or "")
        elif "confirm" in steps and steps["confirm"].result.get("ok"):
            one.state, one.after = "confirmed", str(steps["confirm"].result.get("version") or "")
        elif any(event.status == "unreachable" for event in events):
            lost = next(event for event in events if event.status == "unreachable")
            one.state, one.after, one.problems = "unreachable", "", [*one.problems, *lost.problems]
        elif all(event.step in _BEFORE for event in events if event.status == "failed") and not steps:
            one.state = "failed"
        else:
            one.state, one.after = "unknown", ""

    def sent_back(self, hosts: Iterable[str], events: Sequence[Event]) -> None:
        """What became of *hosts* that had the new version and were told to go back."""
        for host in hosts:
            one = self._known[host]
            self._deployed(one, [event for event in events if event.host == host])
            if one.state == "confirmed":
                one.state = "rolled_back"
            elif one.state == "rolled_back":  # back from the attempt to go back: it has the new version still
                one.state = "rollback_failed"

    def seen(self, events: Iterable[Event]) -> None:
        """What hosts that were lost answer now, when they do."""
        for event in events:
            one = self._known.get(event.host)
            if one is None or event.step != "status" or one.state not in ("unreachable", "unknown"):
                continue
            if event.result.get("pending"):
                continue  # it has not gone back yet
            one.after = str((event.result.get("current") or {}).get("version", ""))
            if event.result.get("healthy"):
                one.state = "rolled_back" if one.after == one.before else "confirmed"


def _verification(problems: Iterable[Problem]) -> bool:
    return any(problem.kind == "verification" for problem in problems)


def _span(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
