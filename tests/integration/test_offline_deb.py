"""The life of the deb on a host under systemd, by apt from a folder: install, serve, configure, upgrade, purge."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.integration import carried, hosts
from tests.integration.conftest import QUIET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Built
    from tests.integration.hosts import Host

# What Debian itself keeps or writes when any package comes and goes; none of it is the application's.
DEBIANS = (
    r"/etc/ld\.so\.cache|/var/cache/ldconfig/aux-cache",  # ldconfig, for libpq5
    r"/var/(lib|cache)/(apt|debconf)(/.*)?",
    r"/var/lib/dpkg/(status|available|lock|diversions|statoverride|triggers/.*)(-old)?",
    r"/var/log(/(dpkg|alternatives|apt/.*)\.log|/apt/.*|/journal/.*)?",
    r"/var/lib/systemd/(catalog/database|random-seed|deb-systemd-helper-.*)",
    r"/etc/apt/sources\.list\.d/.*|/srv(/.*)?",  # the repository that this test brings
)
# The one trace that stays, by decision: the user. Its number must go to nobody else while files may belong to it.
# https://www.debian.org/doc/debian-policy/ch-opersys.html#uid-and-gid-classes
ACCOUNTS = {f"/etc/{name}{kept}" for name in ("passwd", "group", "shadow", "gshadow") for kept in ("", "-")}


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with hosts.running(hosts.HOST.tag(), systemd=True) as host:
        assert host.too_much() == ""
        yield host


def everything(host: Host) -> dict[str, str]:
    """Each path of the host's disk, with kind, mode, owner, link and sha256."""
    rows = host.run("find", "/", "-xdev", "-printf", r"%p\t%y %m %U:%G %l\0").split("\0")
    found = dict(row.split("\t") for row in rows if row)
    for row in host.run("find", "/", "-xdev", "-type", "f", "-exec", "sha256sum", "-z", "{}", "+").split("\0"):
        if row:
            found[row[66:]] += row[:64]
    return found


def show(host: Host, field: str) -> str:
    return host.run("systemctl", "show", "--value", "--property", field, "orders").strip()


def test_its_life(host: Host, os_packages: Path, first: Built, second: Built, tmp_path: Path) -> None:
    before = everything(host)

    carried.accept(host, os_packages)
    carried.accept(host, carried.index(tmp_path / "first", [first.file("deb")]))
    host.run("apt-get", "install", "-qq", "orders", environment=QUIET)
    serves(host, first)

    # The unit as it lies there, its programs and users included.
    assert host.run("systemd-analyze", "verify", "orders.service") == ""
    host.run("systemd-analyze", "security", "--offline=true", "--threshold=15", "orders.service")

    host.sh("echo ORDERS_RECEIPT_KEY=mine >>/etc/orders/env")
    pid = show(host, "MainPID")
    carried.accept(host, carried.index(tmp_path / "second", [second.file("deb")]))
    host.run("apt-get", "install", "-qq", "orders", environment=QUIET)
    serves(host, second, changed="/etc/orders/env")
    assert show(host, "MainPID") != pid
    environment = host.sh(f"tr '\\0' '\\n' </proc/{show(host, 'MainPID')}/environ")
    assert "\nORDERS_RECEIPT_KEY=mine\n" in environment
    assert host.run("stat", "-c", "%a %U:%G", "/etc/orders/env").strip() == "640 root:root"

    host.run("apt-get", "purge", "-qq", "--autoremove", "orders", environment=QUIET)
    leaves_nothing(before, everything(host))
    assert host.run("find", "/run", "/tmp", "-name", "*orders*") == ""
    assert host.run("getent", "passwd", "orders").endswith(":/var/lib/orders:/usr/sbin/nologin\n")
    assert host.run("getent", "shadow", "orders").startswith("orders:!*:")


def test_lintian_finds_nothing_that_is_not_explained(first: Built) -> None:
    done = subprocess.run(
        ["lintian", "--no-cfg", "--allow-root", "--fail-on=error,warning", first.file("deb")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def serves(host: Host, release: Built, *, changed: str = "") -> None:
    """The unit runs, answers with the release's version, and dpkg finds every file as it was packed."""
    hosts.until(lambda: host.healthy(version=release.version), told=lambda: host.run("journalctl", "-u", "orders"))
    assert host.run("systemctl", "is-active", "orders").strip() == "active"
    assert host.run("systemctl", "is-enabled", "orders").strip() == "enabled"
    assert show(host, "NRestarts") == "0"
    assert host.run("orders", "--version", user="nobody").strip() == release.version
    said = host.run("dpkg", "-V", "orders", check=False)
    assert said == (f"??5?????? c {changed}\n" if changed else "")
    assert host.too_much() == ""
    pid = show(host, "MainPID")
    assert re.search(r"^Uid:\t([1-9]\d*)\t\1\t\1\t\1$", host.run("cat", f"/proc/{pid}/status"), re.MULTILINE)


def leaves_nothing(before: dict[str, str], after: dict[str, str]) -> None:
    debians = re.compile("|".join(DEBIANS))
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert {path for path in changed if not debians.fullmatch(path)} == ACCOUNTS
