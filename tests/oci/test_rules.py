"""What goes into the base: no program but those that are named, and every licence."""

from __future__ import annotations

import tomllib

import pytest

from buildonce.oci import rules
from buildonce.system import share


@pytest.mark.parametrize(
    "path",
    [
        "usr/bin/sh",
        "usr/bin/dash",
        "usr/bin/perl",
        "usr/bin/apt-get",
        "usr/bin/dpkg",
        "usr/bin/openssl",
        "usr/bin/ldd",
        "usr/sbin/update-ca-certificates",
        "usr/share/man/man1/python3.11.1.gz",
        "usr/share/doc/tini/README.Debian",
        "usr/share/locale/de/LC_MESSAGES/libc.mo",
        "etc/cron.daily/dpkg",
    ],
)
def test_left_out(path: str) -> None:
    assert not rules.read().takes(path)


@pytest.mark.parametrize(
    "path",
    [
        "usr/bin/python3.11",
        "usr/bin/python3.13",
        "usr/bin/tini",
        "usr/sbin/ldconfig",
        "usr/share/doc/tini/copyright",
        "usr/share/common-licenses/GPL-3",
        "usr/lib/python3.11/os.py",
        "usr/lib/x86_64-linux-gnu/libc.so.6",
        "usr/lib/x86_64-linux-gnu/gconv/BIG5.so",
        "usr/share/zoneinfo/Europe/Paris",
        "etc/ssl/openssl.cnf",
        "usr/lib/os-release",
    ],
)
def test_taken(path: str) -> None:
    assert rules.read().takes(path)


def test_everything_that_is_left_out_has_a_reason() -> None:
    found = tomllib.loads(share.path("builders", "oci", "base.toml").read_text())
    for table in ("without", "leave_out"):
        assert all(len(reason) > 6 for reason in found[table].values())
