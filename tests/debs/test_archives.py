"""The user's apt configuration, turned to a target."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from buildonce import target as targets
from buildonce.debs import archives
from buildonce.debs.archives import Archive
from buildonce.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

MODERN = """\
# The mirror of the house
Types: deb deb-src
URIs: http://mirror.example.org/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/a.gpg
Architectures: amd64 arm64

Types: deb
URIs: https://mirror.example.org/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
Enabled: no
URIs: http://off.example.org/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.example.org/debian
Suites: bookworm
Components: main
"""
CLASSIC = """\
# deb http://old.example.org/debian bookworm main
deb [arch=amd64 signed-by="/a b.gpg" by-hash=no] http://o.example.org/debian bookworm main non-free # x
deb-src http://old.example.org/debian bookworm main
deb cdrom:[Debian 12]/ bookworm main
deb file:/srv/debian bookworm main
deb http://old.example.org/debian-security buster/updates main
deb http://docker.example.org/linux/debian bookworm stable
deb http://pg.example.org/pub/repos/apt bookworm-pgdg main
deb http://node.example.org/node_20.x nodistro main
deb http://flat.example.org/debian ./
"""
BOOKWORM, TRIXIE = targets.load("debian-12"), targets.load("debian-13")
UBUNTU = replace(BOOKWORM, name="ubuntu-24.04", distribution="ubuntu", codename="noble")


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(MODERN)
    (tmp_path / "sources.list.d/more.list.disabled").write_text("deb http://never.example.org/debian bookworm main\n")
    (tmp_path / "sources.list").write_text(CLASSIC)
    return tmp_path


def test_keeps_the_distribution_s_own_archive_only(configuration: Path) -> None:
    found = archives.find(BOOKWORM, configuration=configuration, environment={})
    key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----"
    classic, modern = "http://o.example.org/debian", "http://mirror.example.org/debian"
    assert found == (
        Archive(
            uri=classic,
            suite="bookworm",
            components=("main", "non-free"),
            options=(("by-hash", "no"), ("signed-by", "/a b.gpg")),
        ),
        Archive(uri="http://old.example.org/debian-security", suite="bookworm-security", components=("main",)),
        *(
            Archive(
                uri=modern,
                suite=s,
                components=("main", "contrib"),
                options=(("signed-by", "/usr/share/keyrings/a.gpg"),),
            )
            for s in ("bookworm", "bookworm-updates")
        ),
        Archive(
            uri="https://mirror.example.org/debian-security",
            suite="bookworm-security",
            components=("main",),
            options=(("signed-by", key),),
        ),
    )


def test_the_archive_of_a_distribution_that_nobody_knows_is_found_by_its_code_name(tmp_path: Path) -> None:
    path = tmp_path / "corp.sources"
    path.write_text(
        "Types: deb\nURIs: http://corp.example.org/os\nSuites: corp12 corp12-security bookworm\nComponents: base\n"
    )
    target = replace(BOOKWORM, name="corporate-12", distribution="corporate", codename="corp12")
    found = archives.find(target, environment={archives.VARIABLE: str(path)})
    assert [(one.suite, one.components) for one in found] == [("corp12", ("base",)), ("corp12-security", ("base",))]


def test_turns_to_another_release(configuration: Path) -> None:
    found = archives.find(TRIXIE, configuration=configuration, environment={})
    assert {archive.suite for archive in found} == {"trixie", "trixie-updates", "trixie-security"}


def test_what_it_writes_reads_back_the_same(configuration: Path, tmp_path: Path) -> None:
    found = archives.find(BOOKWORM, configuration=configuration, environment={})
    path = tmp_path / "again.sources"
    path.write_text(archives.text(found))
    assert tuple(archives.parse(path)) == found
    assert archives.find(BOOKWORM, environment={archives.VARIABLE: str(path)}) == found


def test_mirror_lists_of_cloud_images(tmp_path: Path) -> None:
    (tmp_path / "mirrors").write_text(
        "# ours\nhttp://near.example.org/debian\tpriority:1\nhttp://far.example.org/debian\n"
    )
    path = tmp_path / "cloud.sources"
    path.write_text(f"Types: deb\nURIs: mirror+file://{tmp_path}/mirrors\nSuites: stable\nComponents: main\n")
    (found,) = archives.find(BOOKWORM, environment={archives.VARIABLE: str(path)})
    assert (found.uri, found.suite) == ("http://near.example.org/debian", "bookworm")


def test_no_mirror_says_what_to_do(configuration: Path, tmp_path: Path) -> None:
    for place in (configuration, tmp_path / "nothing"):
        with pytest.raises(ConfigurationError, match="no mirror of ubuntu") as caught:
            archives.find(UBUNTU, configuration=place, environment={})
        assert "export BUILDONCE_APT_SOURCES=" in caught.value.problems[0].hint
    with pytest.raises(ConfigurationError, match="there is no file"):
        archives.find(BOOKWORM, environment={archives.VARIABLE: str(tmp_path / "absent.sources")})
