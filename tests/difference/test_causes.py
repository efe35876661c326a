"""Causes, from pairs of texts as builds write them; and pairs that look like one and are none."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from buildonce.difference import Cause, Verdict, causes, hints
from buildonce.difference.causes import Evidence
from tests.pages import ROOT

NAMED = [
    ("timestamp", "BUILD = 1700000000", "BUILD = 1731622400"),
    ("timestamp", "BUILD = 1700000000.25", "BUILD = 1731622400.5"),
    ("timestamp", "ms = 1700000000123", "ms = 1700000099123"),
    ("timestamp", "ns = 1700000000123456789", "ns = 1700000099123456789"),
    ("timestamp", "# built 2026-11-21", "# built 2026-11-22"),
    ("timestamp", "# 2026-11-21T12:30:01Z", "# 2026-11-21T12:30:02Z"),
    ("timestamp", "# 2026-11-21T12:30:01.123456+00:00", "# 2026-11-22T02:30:01.223456+14:00"),
    ("timestamp", "# Sat Nov 21 12:30:01 2026", "# Sun Nov 22 12:30:01 2026"),
    ("timestamp", "# Sat Nov 21 12:30:01 UTC 2026", "# Sun Nov 22 02:30:01 +14 2026"),
    ("timestamp", "Date: Sat, 21 Nov 2026 12:30:01 +0000", "Date: Sun, 22 Nov 2026 02:30:01 +1400"),
    ("timestamp", "__DATE__ Nov 21 2026 __TIME__ 12:30:01", "__DATE__ Dec  1 2026 __TIME__ 02:00:00"),
    ("timestamp", "version = '1.0.20261121'", "version = '1.0.20261122'"),
    ("timestamp", "stamp 20261121T123001Z", "stamp 20261121T123002Z"),
    ("timestamp", "% 21.11.2026 12:30", "% 22.11.2026 12:31"),
    ("timestamp", "Copyright (c) year 2026", "Copyright (c) year 2027"),
    ("path", "root = '/home/ada/shop'", "root = '/srv/ci/0042/shop'"),
    ("path", "-- Found Python: /tmp/tmpab12cd/bin/python", "-- Found Python: /tmp/tmpxy98zz/bin/python"),
    ("path", "#!/home/ada/.venv/bin/python3", "#!/build/env/bin/python3"),
    ("path", "url = file:///home/ada/shop", "url = file:///build/src"),
    ("path", "built in /tmp/1700000000/x", "built in /tmp/1700000001/x"),
    ("hostname", "hostname: ada-laptop", "hostname: runner-7"),
    ("hostname", 'BUILD_HOST = "ada"', 'BUILD_HOST = "eve"'),
    ("hostname", "mail from root@ada-laptop", "mail from root@runner7"),
    ("hostname", "at ada.internal", "at runner-7.internal"),
    ("hostname", "uname Linux node alpha", "uname Linux node beta"),
    ("user", "built by ada", "built by jenkins"),
    ("user", '"user": "ada"', '"user": "ci"'),
    ("user", "uid=1000", "uid=0"),
    ("user", "mail from ada@laptop", "mail from eve@laptop"),
    ("umask", "mode 0o644", "mode 0o600"),
    ("umask", "st_mode=0o100664 size=3", "st_mode=0o100644 size=3"),
    ("umask", "-rw-rw-r-- 1 a.py", "-rw-r--r-- 1 a.py"),
    ("umask", "umask 2", "umask 22"),
    ("order", "b.py\na.py\nc.py", "a.py\nb.py\nc.py"),
    ("order", "files = ['b.py', 'a.py']", "files = ['a.py', 'b.py']"),
    ("order", "SRC = lib/x.c lib/a.c", "SRC = lib/a.c lib/x.c"),
    ("hash seed", "{'json', 'xml', 'csv'}", "{'csv', 'json', 'xml'}"),
    ("hash seed", "frozenset({3, 1, 2})", "frozenset({1, 2, 3})"),
    ("hash seed", "d = {'b': 1, 'a': 2}", "d = {'a': 2, 'b': 1}"),
    ("hash seed", "hash of 'x' is 4823094823094823", "hash of 'x' is -2342342342342"),
    ("locale", "total 1234.5", "total 1234,5"),
    ("locale", "total 1,234.50", "total 1.234,50"),
    ("locale", "on Saturday", "on Samstag"),
    ("locale", "LC_ALL=C.UTF-8", "LC_ALL=de_DE.UTF-8"),
    ("locale", "encoding: utf-8", "encoding: ANSI_X3.4-1968"),
    ("locale", "author: René Müller", "author: Ren\\xe9 M\\xfcller"),
    ("locale", "author: René Müller", "author: Ren? M?ller"),
    ("locale", "Zebra\napple\nÖl", "apple\nÖl\nZebra"),
    ("random id", "id 6f9619ff-8b86-d011-b42d-00c04fc964ff", "id 7f9619ff-8b86-4011-b42d-00c04fc964fe"),
    ("random id", "build deadbeef01", "build 0badcafe99"),
    ("random id", "token Zk3_9aQwErTy", "token 9Xc2vBnMlKj-"),
    ("random id", "x = 0.8444218515250481", "x = 0.7579544029403025"),
    ("random id", "seed 48230948230948", "seed 17230948230123"),
    ("address", "<function f at 0x7f3a5c0b1e50>", "<function f at 0x7fc1d20a9e50>"),
    ("machine", "cpu_count = 8", "cpu_count = 16"),
    ("machine", "Linux version 5.10.0-30-amd64", "Linux version 6.1.0-13-amd64"),
    ("machine", "compiled with 2 jobs: jobs=2", "compiled with 2 jobs: jobs=16"),
    ("digest", f"sha256:{'a1' * 32}", f"sha256:{'b2' * 32}"),
]


@pytest.mark.parametrize(("cause", "expected", "found"), NAMED, ids=[f"{c}: {e}" for c, e, _ in NAMED])
@pytest.mark.parametrize("around", [False, True])
def test_it_is_named(cause: Cause, expected: str, found: str, around: bool) -> None:
    one, two = expected.split("\n"), found.split("\n")
    if around:  # among lines that are the same
        one, two = (["first", "second", *lines, "last"] for lines in (one, two))
    assert [evidence.cause for evidence in causes.of_lines(one, two, {})] == [cause]
    assert [evidence.cause for evidence in causes.of_lines(two, one, {})] == [cause]


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("x = 1", "x = 2"),
        ("version = '1.2.3'", "version = '1.23'"),
        ("version = '1.2.3'", "version = '1.2.4'"),
        ("return open(file)", "return shut(file)"),
        ("mode 0644", "mode 4755"),
        ("port = 8000", "port = 8080"),
        ("may be", "must be"),
        ("pkg:pypi/shop@1.0", "pkg:pypi/shop@1.1"),
        ("a b c", "a b"),
        ("", "text"),
        ("the update says yes", "the update says maybe"),
    ],
)
def test_it_is_not_taken_for_anything(expected: str, found: str) -> None:
    assert causes.of_lines([expected], [found], {}) == ()


def test_several_causes_are_told_the_most_frequent_first() -> None:
    one = ["at 12:30:01", "in /home/ada/shop", "at 12:30:02", "x = 1"]
    two = ["at 12:31:01", "in /home/eve/shop", "at 12:31:02", "x = 2"]
    assert causes.of_lines(one, two, {}) == (
        Evidence("timestamp", "12:30:01 → 12:31:01"),
        Evidence("path", "/home/ada/shop → /home/eve/shop"),
    )


def test_in_a_long_line_it_is_found() -> None:
    before = "x," * 100_000
    found = causes.of_lines([f"{before}t=2024-01-01;y"], [f"{before}t=2024-01-02;y"], {})
    assert found == (Evidence("timestamp", "2024-01-01 → 2024-01-02"),)


def test_every_cause_has_a_next_step() -> None:
    for cause in get_args(Cause):
        line = hints.of([Evidence(cause, "a → b")])
        assert line.startswith(f"{cause}: a → b; ")
        assert "\n" not in line


def test_the_page_names_every_verdict_and_cause() -> None:
    page = (ROOT / "docs/explanation/what-differs.md").read_text("utf-8")
    tables = re.findall(r"^\| `([a-z -]+)` \|", page, re.MULTILINE)
    assert set(tables) == {*get_args(Verdict), *get_args(Cause)}


@pytest.mark.parametrize("count", [10, 3000])
def test_blocks_put_the_texts_together_again(count: int) -> None:
    one = [str(i) for i in range(count)]
    two = [line for line in one if line not in ("3", "7")] + ["end"]
    rest, at = [], 0
    for block in causes.blocks(one, two):
        rest += one[at : block.start] + list(block.found)
        at = block.start + len(block.expected)
    assert [*rest, *one[at:]][: len(two)] == two or count > 2000
