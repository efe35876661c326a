"""The whole from its hosts."""

from __future__ import annotations

import pytest

from buildonce.deployment.verdicts import GATE, HostReport, HostState, Problem, Verdict, exit_code, verdict


def hosts(*states: HostState, kind: str = "") -> tuple[HostReport, ...]:
    problems = (Problem(message="something", kind=kind),) if kind else ()
    return tuple(HostReport(host=f"h{n}", state=state, problems=problems) for n, state in enumerate(states))


@pytest.mark.parametrize(
    ("states", "tried", "problem", "expected", "code"),
    [
        (("confirmed", "confirmed"), True, "", "succeeded", 0),
        (("confirmed", "unchanged"), True, "", "succeeded", 0),
        (("unchanged", "unchanged"), False, "", "unchanged", 0),
        (("rolled_back", "not_reached"), True, "", "rolled_back", 1),
        (("rolled_back", "rolled_back"), True, "acceptance", "rolled_back", 1),
        (("confirmed", "rolled_back"), True, "", "partial", 7),
        (("confirmed", "not_reached"), True, "acceptance", "partial", 7),
        (("confirmed", "confirmed"), True, "acceptance", "partial", 7),
        (("confirmed", "unreachable"), True, "", "errored", 7),
        (("rolled_back", "rollback_failed"), True, "", "errored", 7),
        (("unknown", "not_reached"), True, "", "errored", 7),
        (("preflight_failed", "not_reached"), False, "", "aborted", 1),
        (("unreachable", "not_reached"), False, "", "aborted", 1),
        (("verify_failed", "not_reached"), False, "", "aborted", 4),
        (("failed", "not_reached"), False, "", "aborted", 1),
        (("unchanged", "not_reached"), False, "the hook", "aborted", 1),
    ],
)
def test_verdicts(states: tuple[HostState, ...], tried: bool, problem: str, expected: Verdict, code: int) -> None:
    found = hosts(*states)
    assert verdict(found, tried=tried, problem=problem) == expected
    assert exit_code(expected, found) == code


def test_a_gate_that_says_no() -> None:
    found = hosts("preflight_failed", kind=GATE)
    assert exit_code(verdict(found, tried=False), found) == 8
