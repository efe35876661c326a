"""dpkg's own programs read the database that is written for them."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from buildonce.buildroot import database
from buildonce.debs import deb
from tests.debs import making

if TYPE_CHECKING:
    from pathlib import Path


def _dpkg(root: Path, *arguments: str) -> str:
    command = [arguments[0], f"--admindir={root}/var/lib/dpkg", *arguments[1:]]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_dpkg_takes_the_packages_as_installed(tmp_path: Path) -> None:
    described = {"Maintainer": "A <a@example.org>", "Description": "short\n long\n .\n more"}
    library = making.make(
        tmp_path / "libx1.deb",
        fields={"Multi-Arch": "same", "Version": "1:2.0~rc1-1"} | described,
        controls={
            "shlibs": b"libx 1 libx1\n",
            "symbols": b"libx.so.1 libx1 #MINVER#\n x@Base 1.0\n",
            "triggers": b"activate-noawait ldconfig\n",
            "conffiles": b"/etc/x\n",
            "md5sums": b"d41d8cd98f00b204e9800998ecf8427e  usr/lib/libx.so.1\n",
            "postinst": b"#!/bin/sh\nexit 1\n",
        },
    )
    tool = making.make(
        tmp_path / "tool.deb",
        fields={"Architecture": "all", "Provides": "the-tool"} | described,
        controls={"md5sums": b""},
    )
    packages = [
        (deb.read(tool), ["usr", "usr/bin", "usr/bin/tool"]),
        (deb.read(library), ["usr", "usr/lib/libx.so.1"]),
    ]
    database.write(tmp_path, packages, "amd64")

    info = {path.name for path in (tmp_path / "var/lib/dpkg/info").iterdir()}
    assert info == {
        *("format", "tool.list", "tool.md5sums"),
        *(f"libx1:amd64.{name}" for name in ("list", "shlibs", "symbols", "triggers", "conffiles", "md5sums")),
    }
    rows = _dpkg(tmp_path, "dpkg-query", "-W", "-f", "${binary:Package} ${Version} ${Status} ${Provides}\n")
    assert rows.splitlines() == [
        "libx1:amd64 1:2.0~rc1-1 install ok installed ",
        "tool 1.0-1 install ok installed the-tool",
    ]
    assert _dpkg(tmp_path, "dpkg-query", "-S", "/usr/lib/libx.so.1") == "libx1:amd64: /usr/lib/libx.so.1\n"
    assert _dpkg(tmp_path, "dpkg-query", "-L", "tool").splitlines() == [
        "/.",
        "/usr",
        "/usr/bin",
        "/usr/bin/tool",
    ]
    shown = _dpkg(tmp_path, "dpkg-query", "--control-path", "libx1", "symbols").strip()
    assert shown.endswith("/info/libx1:amd64.symbols")
    assert _dpkg(tmp_path, "dpkg", "--audit") == ""
    control = tmp_path / "control"
    control.write_text(
        "Source: s\nBuild-Depends: libx1 (>= 1:2.0~rc1-1), the-tool\nBuild-Conflicts: y\n\n"
        "Package: p\nArchitecture: any\n"
    )
    _dpkg(tmp_path, "dpkg-checkbuilddeps", "-I", str(control))
