"""The order of Debian versions, compared with dpkg's."""

from __future__ import annotations

import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st

from buildonce.debs.versions import order

UPSTREAM = st.from_regex(r"[0-9][0-9a-zA-Z.+~]{0,6}", fullmatch=True)
REVISION = st.from_regex(r"(-[0-9a-z+.~]{1,4})?", fullmatch=True)
EPOCH = st.sampled_from(["", "0:", "1:", "12:"])
VERSIONS = st.builds(lambda *parts: "".join(parts), EPOCH, UPSTREAM, REVISION)


@settings(max_examples=150, deadline=None)
@given(VERSIONS, VERSIONS)
def test_it_is_that_of_dpkg(left: str, right: str) -> None:
    relation = "lt" if order(left) < order(right) else "gt" if order(left) > order(right) else "eq"
    done = subprocess.run(["dpkg", "--compare-versions", left, relation, right], check=False)
    assert done.returncode == 0, (left, relation, right)


def test_what_releases_have() -> None:
    ours = ["1.4.0~~dev5+g1a2b-1+deb12", "1.4.0~a1-1+deb12", "1.4.0-1+deb12", "1.4.0-1+deb13", "1.10.0-1+deb12"]
    assert sorted(set(ours), key=order) == ours
