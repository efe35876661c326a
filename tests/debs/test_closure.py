"""Which packages a set of packages needs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildonce import debs
from buildonce.debs.closure import names
from buildonce.errors import LockError


def _package(name: str, depends: str = "", **more: str) -> dict[str, str]:
    return {"Package": name, "Depends": depends, **more}


LOCKED = [
    _package("app", "python3 (>= 3.11), libpq5 | libpq4, mailer"),
    _package("python3", "python3.11:any (>= 3.11.2-1~)", **{"Pre-Depends": "minimal (= 1)"}),
    _package("python3.11", "libc6, tzdata | tz"),
    _package("minimal", "libc6"),
    _package("libc6", "libgcc-s1"),
    _package("libgcc-s1", "libc6"),
    _package("libpq4"),
    _package("libpq5", "libc6"),
    _package("postfix", "debconf", Provides="mailer (= 1), smtp"),
    _package("debconf", "perl"),
    _package("perl"),
    _package("tz"),
]


def test_follows_alternatives_provides_and_pre_depends() -> None:
    assert debs.closure(LOCKED, ["app"]) == (
        *("app", "debconf", "libc6", "libgcc-s1", "libpq5", "minimal"),
        *("perl", "postfix", "python3", "python3.11", "tz"),
    )


def test_what_is_left_out_takes_what_only_it_needs_along() -> None:
    assert debs.closure(LOCKED, ["postfix"], without=["debconf"]) == ("postfix",)
    assert debs.closure(LOCKED, ["postfix", "perl"], without=["debconf"]) == ("perl", "postfix")


def test_another_alternative_stands_in_for_one_that_is_left_out() -> None:
    locked = [_package("a", "b | c"), _package("b"), _package("c")]
    assert debs.closure(locked, ["a"]) == ("a", "b")
    assert debs.closure(locked, ["a"], without=["b"]) == ("a", "c")
    assert debs.closure(locked[:2], ["a"], without=["b", "c"]) == ("a",)


def test_left_out_packages_need_not_be_locked() -> None:
    assert debs.closure([_package("a", "gone (>= 1)")], ["a"], without=["gone"]) == ("a",)


def test_what_is_not_locked_is_named_with_who_needs_it() -> None:
    with pytest.raises(LockError, match=r"a needs the OS package x or y, which is not locked"):
        debs.closure([_package("a", "x (>= 1) | y")], ["a"])
    with pytest.raises(LockError, match="nothing"):
        debs.closure([], ["nothing"])


def test_names_of_a_field() -> None:
    assert list(names("a (>= 1:2~), b:any | c [amd64] <!nocheck>,\n d")) == [("a",), ("b", "c"), ("d",)]
    assert list(names("")) == []


_GRAPH = st.dictionaries(st.sampled_from("abcdefgh"), st.sets(st.sampled_from("abcdefgh")), min_size=8)


@settings(deadline=None)
@given(_GRAPH, st.sets(st.sampled_from("abcdefgh")))
def test_is_closed_and_least(graph: dict[str, set[str]], roots: set[str]) -> None:
    locked = [_package(name, ", ".join(sorted(needs))) for name, needs in graph.items()]
    found = set(debs.closure(locked, sorted(roots)))
    assert found >= roots
    assert all(graph[name] <= found for name in found)
    assert all(name in roots or any(name in graph[other] for other in found) for name in found)
