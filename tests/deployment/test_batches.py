"""How a fleet is cut into batches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildonce.deployment.batches import split

ENTRIES = st.one_of(st.integers(1, 50), st.integers(1, 100).map(lambda share: f"{share}%"))


@pytest.mark.parametrize(
    ("count", "entries", "sizes"),
    [
        (1, (1, "10%", "50%", "100%"), [1]),
        (4, (1, "10%", "50%", "100%"), [1, 1, 2]),
        (20, (1, "10%", "50%", "100%"), [1, 1, 8, 10]),
        (5, (2,), [2, 3]),
        (3, ("100%",), [3]),
        (3, (10,), [3]),
        (10, ("25%",), [3, 7]),
        (4, (3, 2), [3, 1]),
        (0, (1,), []),
    ],
)
def test_entries_are_hosts_in_all(count: int, entries: tuple[int | str, ...], sizes: list[int]) -> None:
    hosts = [f"h{number}" for number in range(count)]
    found = split(hosts, entries)
    assert [len(batch) for batch in found] == sizes


@given(st.integers(0, 200), st.lists(ENTRIES, min_size=1, max_size=6))
def test_every_host_once_and_in_order(count: int, entries: list[int | str]) -> None:
    hosts = tuple(f"h{number}" for number in range(count))
    found = split(hosts, entries)
    assert tuple(host for batch in found for host in batch) == hosts
    assert all(found)
