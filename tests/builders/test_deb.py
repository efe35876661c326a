"""Debs made by dpkg-buildpackage in a real build root, read back, linted and installed under systemd."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import stat
import subprocess
import traceback
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zstandard  # noqa: F401  # the reader's; loaded before a test gives up root
from debian.changelog import Changelog
from debian.copyright import Copyright
from hypothesis import given, settings
from hypothesis import strategies as st

from buildonce import tree
from buildonce.builders import _deb_skeleton as skeleton
from buildonce.builders import _deb_texts as texts
from buildonce.builders.deb import DebBuilder
from buildonce.buildroot import RootRunner
from buildonce.debs import deb
from buildonce.errors import BuildError, ConfigurationError, VerificationError
from buildonce.model import Change, Digest, Version
from buildonce.system.run import HostRunner
from buildonce.system.store import Store
from tests import wheelmaker
from tests.builders import small_stage
from tests.integration import hosts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from buildonce.model import Artifact, Contents
    from buildonce.stage import Stage

SERVICE: dict[str, Any] = {
    "service": {
        "command": "tinyapp serve",
        "migrate": "tinyapp migrate",
        "port": 8080,
        "environment": {"RATE": "50% of $x", "COLOUR": "blue"},
        "writable": ["/var/lib/shared/tiny", "/var/cache/tinyapp", "/srv/files"],
    }
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return small_stage.stage(tmp_path_factory.mktemp("work") / "stage", settings=SERVICE)


@pytest.fixture(scope="module")
def artifact(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return build(stage, tmp_path_factory.mktemp("out"))


def build(stage: Stage, into: Path) -> Artifact:
    (artifact,) = DebBuilder().build(stage, into, small_stage.runner())
    return artifact


def _linked(source: str, destination: str) -> None:
    try:
        os.link(source, destination, follow_symlinks=False)
    except OSError:  # on another file system
        shutil.copy2(source, destination, follow_symlinks=False)


def read(path: Path) -> Contents:
    return DebBuilder().read(path, "deb", name="tinyapp", interpreter="/usr/bin/python3.11")


def differences(stage: Stage, artifact: Artifact, path: Path) -> tuple[str, ...]:
    return tree.difference((*stage.tree.entries, *artifact.extras), read(path).entries)


def text_of(stage: Stage, path: str) -> str:
    return next(one.data for one in skeleton.carried(stage) if one.path == path).decode()


class TestRendering:
    def test_the_changelog_is_one_that_debian_reads(self, tmp_path: Path) -> None:
        changes = (
            Change(
                commit="a" * 40,
                author="Ada Lovelace <ada@example.org>",
                epoch=1,
                summary="Fix the engine, closes: #1",
            ),
            Change(
                commit="b" * 40,
                author="Grace Hopper <grace@example.org>",
                epoch=2,
                summary="Find a moth\n -- X <x@y>  now",
            ),
        )
        stage = small_stage.bare(tmp_path, changes=changes)
        (block,) = Changelog(texts.changelog(stage), strict=True)
        assert (block.package, str(block.version)) == ("tinyapp", "1.2.4~~dev5+g1a2b3c4-1+deb12")
        assert block.distributions == "bookworm"
        assert block.author == "Ada Lovelace <ada@example.org>"
        assert block.date is not None
        assert parsedate_to_datetime(block.date).timestamp() == small_stage.EPOCH
        said = "\n".join(block.changes())
        assert "[ Grace Hopper ]" in said
        assert "Fix the engine, closes #1 (aaaaaaaaaa)" in said
        assert block.bugs_closed == []

    @given(summary=st.text(), author=st.text(), name=st.text())
    def test_no_text_of_a_commit_or_a_project_breaks_the_changelog(
        self, summary: str, author: str, name: str, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        change = Change(commit="a" * 40, author=f"{author} <a@example.org>", epoch=1, summary=summary)
        stage = _shared_bare(tmp_path_factory)
        project = replace(stage.project, summary=name, authors=(f"{name} <n@example.org>",))
        stage = replace(stage, source=replace(stage.source, changes=(change,)), project=project)
        (block,) = Changelog(texts.changelog(stage), strict=True)
        assert block.date is not None
        assert len(texts.synopsis(stage).splitlines()) == 1
        assert len(texts.synopsis(stage)) < 80

    @pytest.mark.parametrize(
        ("configured", "authors", "expected"),
        [
            ("Ops <ops@example.org>", ("Ada <ada@example.org>",), "Ops <ops@example.org>"),
            ("", ("Nobody", "Ada <ada@example.org>"), "Ada <ada@example.org>"),
            ("", ("Lovelace, Ada <ada@example.org>",), "Lovelace Ada <ada@example.org>"),
            ("", (), "tinyapp maintainers <tinyapp@localhost.invalid>"),
        ],
    )
    def test_the_maintainer_is_configured_or_an_author(
        self, tmp_path: Path, configured: str, authors: tuple[str, ...], expected: str
    ) -> None:
        stage = small_stage.bare(tmp_path, settings={"maintainer": configured} if configured else {}, authors=authors)
        assert texts.maintainer(stage) == expected

    @pytest.mark.parametrize(
        ("summary", "expected"),
        [
            ("A tiny application.", "tiny application"),
            ("tinyapp: the smallest", "smallest"),
            ("", "Python application"),
            ("An\nanswer", "answer"),
        ],
    )
    def test_the_synopsis_is_a_phrase(self, tmp_path: Path, summary: str, expected: str) -> None:
        assert texts.synopsis(small_stage.bare(tmp_path, summary=summary)) == expected

    def test_the_copyright_names_every_licence(self, tmp_path: Path) -> None:
        members = wheelmaker.contents({"helper.py": ""}, name="helper", version="2.0")
        members["helper-2.0.dist-info/METADATA"] += b"License-Expression: MIT\n"
        wheel = wheelmaker.write(tmp_path / "more" / "helper-2.0-py3-none-any.whl", members)
        stage = small_stage.bare(tmp_path, wheels=[wheel], license="MIT OR Apache-2.0")
        found = Copyright(texts.copyright_file(stage).splitlines(keepends=True), strict=True)
        assert found.header.comment is not None
        assert "helper 2.0: MIT" in found.header.comment
        (files,) = found.all_files_paragraphs()
        assert files["License"].splitlines() == ["MIT-or-Apache-2.0"]
        assert "2023 Ada Lovelace" in files.copyright

    def test_the_unit_runs_the_service_as_configured(self, tmp_path: Path) -> None:
        unit = text_of(small_stage.bare(tmp_path, settings=SERVICE), "lib/systemd/system/tinyapp.service")
        assert (
            "\nExecStartPre=/opt/venvs/tinyapp/bin/tinyapp migrate\n"
            "ExecStart=/opt/venvs/tinyapp/bin/tinyapp serve\n" in unit
        )
        assert '\nEnvironment="RATE=50%% of $x"\n' in unit
        assert "\nStateDirectory=tinyapp shared/tiny\n" in unit
        assert "\nCacheDirectory=tinyapp\n" in unit
        assert "\nReadWritePaths=-/srv/files\n" in unit
        assert "\nSystemCallFilter=~@privileged @resources\n" in unit
        assert not re.search(r"@[a-z]+@", unit)

    def test_systemd_finds_the_unit_sound_and_confined(self, tmp_path: Path) -> None:
        stage = small_stage.bare(tmp_path / "stage", settings=SERVICE)
        unit = text_of(stage, "lib/systemd/system/tinyapp.service").replace(
            "/opt/venvs/tinyapp/bin/tinyapp", "/bin/true"
        )
        (tmp_path / "tinyapp.service").write_text(unit)
        verified = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", tmp_path / "tinyapp.service"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (verified.returncode, verified.stderr) == (0, "")
        subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--threshold=15", tmp_path / "tinyapp.service"],
            check=True,
        )

    def test_a_socket_comes_beside_the_unit(self, tmp_path: Path) -> None:
        settings = {"service": {**SERVICE["service"], "socket": True}}
        stage = small_stage.bare(tmp_path, settings=settings)
        assert "\nListenStream=8080\n" in text_of(stage, "lib/systemd/system/tinyapp.socket")
        assert "\nRequires=tinyapp.socket\n" in text_of(stage, "lib/systemd/system/tinyapp.service")

    def test_a_project_without_a_service_has_no_unit_and_no_user(self, tmp_path: Path) -> None:
        paths = {one.path for one in skeleton.carried(small_stage.bare(tmp_path))}
        assert not any(path.startswith(("lib/", "usr/lib/", "etc/")) for path in paths)
        assert "usr/bin/tinyapp" in paths

    @pytest.mark.parametrize(
        ("settings", "purged"),
        [({}, ""), (SERVICE, "/var/lib/tinyapp /var/lib/shared/tiny /var/cache/tinyapp")],
    )
    def test_a_purge_takes_what_systemd_made_for_the_service_and_nothing_else(
        self, tmp_path: Path, settings: dict[str, Any], purged: str
    ) -> None:
        stage = small_stage.bare(tmp_path / "stage", settings=settings)
        skeleton.write(stage, (), tmp_path / "source")
        script = tmp_path / "source" / "debian" / "postrm"
        subprocess.run(["sh", "-n", script], check=True)
        assert re.findall(r"for folder in (.*); do", script.read_text()) == [purged]
        assert "mkdir -p /opt\n" in script.read_text()  # what dpkg took with the last package below it

    @pytest.mark.parametrize(
        ("project", "settings", "said"),
        [
            ({"name": "python3-tiny"}, {}, "begin with python3"),
            ({}, {"service": {"command": "tinyapp", "port": 80}}, "port 80"),
        ],
    )
    def test_what_cannot_be_a_package_is_refused(
        self, tmp_path: Path, project: dict[str, Any], settings: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=said) as caught:
            DebBuilder().build(small_stage.bare(tmp_path, settings=settings, **project), tmp_path, HostRunner())
        assert caught.value.problems[0].hint


def _shared_bare(factory: pytest.TempPathFactory, made: list[Stage] = []) -> Stage:  # noqa: B006  # made once
    if not made:
        made.append(small_stage.bare(factory.mktemp("bare")))
    return made[0]


@pytest.mark.integration
class TestBuilding:
    def test_it_holds_the_tree_and_what_was_meant_and_nothing_else(self, stage: Stage, artifact: Artifact) -> None:
        contents = read(artifact.path)
        assert differences(stage, artifact, artifact.path) == ()
        assert (contents.name, contents.version) == ("tinyapp", "1.2.4~~dev5+g1a2b3c4-1+deb12")
        assert artifact.file == "tinyapp_1.2.4~~dev5+g1a2b3c4-1+deb12_amd64.deb"

    def test_its_fields_say_what_it_needs(self, artifact: Artifact) -> None:
        package = deb.read(artifact.path)
        depends = re.split(r"\s*,\s*", package.fields["Depends"])
        assert "python3.11" in depends
        assert any(one.startswith("libc6 (>= ") for one in depends)
        assert package.fields["Maintainer"] == "Ada Lovelace <ada@example.org>"
        assert package.controls["conffiles"] == b"/etc/tinyapp/env\n"
        assert "dh-virtualenv" not in package.controls["postinst"].decode()

    def test_its_times_and_modes_do_not_come_from_this_machine(self, artifact: Artifact) -> None:
        listing = subprocess.run(
            ["dpkg-deb", "-c", artifact.path],
            env={**os.environ, "TZ": "UTC"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        assert {" ".join(line.split()[3:5]) for line in listing} == {"2023-11-14 22:13"}
        assert {line.split()[1] for line in listing} == {"root/root"}
        (env,) = [line for line in listing if "./etc/tinyapp/env" in line]
        assert env.startswith("-rw-r-----")

    def test_the_same_bytes_again_elsewhere_under_another_umask_and_time_zone(
        self, stage: Stage, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        monkeypatch.setenv("DEB_BUILD_OPTIONS", "parallel=3")
        for path in stage.tree_root.rglob("*.py"):  # as files of a store are: older than the commit
            os.utime(path, (1_000_000_000, 1_000_000_000))
        before = os.umask(0o077)
        try:
            again = build(stage, tmp_path / ("a folder of another length" * 4))
        finally:
            os.umask(before)
        assert again.sha256 == artifact.sha256
        assert stat.S_IMODE(again.path.stat().st_mode) == 0o644

    def test_what_the_libraries_are_is_asked_once_for_the_same_files(
        self, stage: Stage, artifact: Artifact, tmp_path: Path
    ) -> None:
        log = stage.path.parent / "log" / f"deb-{stage.target.name}.log"
        log.unlink()
        fresh = replace(stage, store=Store(tmp_path / "store"))
        assert build(fresh, tmp_path / "one").sha256 == artifact.sha256
        assert "\ndh_shlibdeps" in log.read_text()
        log.unlink()
        assert build(fresh, tmp_path / "two").sha256 == artifact.sha256
        assert "\ndh_shlibdeps" not in log.read_text()
        libraries = [replace(e, sha256=Digest("0" * 64)) if e.path.endswith(".so") else e for e in stage.tree.entries]
        build(replace(fresh, tree=replace(stage.tree, entries=tuple(libraries))), tmp_path / "three")
        assert "\ndh_shlibdeps" in log.read_text()

    def test_the_same_bytes_by_an_ordinary_user(self, stage: Stage, artifact: Artifact, tmp_path: Path) -> None:
        out = tmp_path / "theirs"
        out.mkdir()
        out.chmod(0o777)
        for folder in [*out.parents, *stage.tree_root.parents]:
            if folder.stat().st_uid == os.getuid() and folder.parent not in (folder, Path("/")):
                folder.chmod(folder.stat().st_mode | 0o055)
        for log in (stage.path.parent / "log", *(stage.path.parent / "log").iterdir()):
            log.chmod(0o777)
        # the store may lie in a home that is closed to others
        user, root = pwd.getpwnam("nobody"), tmp_path / "root"
        shutil.copytree(small_stage.runner().root, root, symlinks=True, copy_function=_linked)
        child = os.fork()
        if child == 0:  # a fork: an interpreter in root's home could not be started by this user
            status = 1
            try:
                os.setgroups([])
                os.setgid(user.pw_gid)
                os.setuid(user.pw_uid)
                theirs = replace(stage, store=Store(out / "store"))
                DebBuilder().build(theirs, out, RootRunner(root, HostRunner()))
                status = 0
            finally:
                traceback.print_exc()
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        (made,) = out.glob("*.deb")
        assert made.owner() == "nobody"
        assert made.read_bytes() == artifact.path.read_bytes()

    def test_lintian_finds_nothing_that_is_not_explained(self, artifact: Artifact) -> None:
        found = subprocess.run(
            ["lintian", "--no-cfg", "--allow-root", "--fail-on=error,warning", artifact.path],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (found.returncode, found.stdout) == (0, "")

    def test_a_tree_without_a_locked_distribution_never_becomes_a_package(self, stage: Stage, tmp_path: Path) -> None:
        wheels = tuple(replace(w, version="9") if w.name == "click" else w for w in stage.wheelhouse.wheels)
        with pytest.raises(BuildError) as caught:
            build(replace(stage, wheelhouse=replace(stage.wheelhouse, wheels=wheels)), tmp_path)
        assert "click==9" in caught.value.log
        assert list(tmp_path.iterdir()) == []

    def test_no_epoch_in_the_file_name(self, stage: Stage, tmp_path: Path) -> None:
        made = build(replace(stage, version=Version(pep440="1!2.0", debian="1:2.0", oci="1_2.0")), tmp_path)
        assert made.file == "tinyapp_2.0-1+deb12_amd64.deb"
        assert read(made.path).version == "1:2.0-1+deb12"


@pytest.fixture
def unpacked(artifact: Artifact, tmp_path: Path) -> Path:
    folder = tmp_path / "unpacked"
    subprocess.run(["dpkg-deb", "-R", artifact.path, folder], check=True)
    return folder


def packed(folder: Path) -> Path:
    path = folder.with_suffix(".deb")
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zzstd", "-z1", "-b", folder, path],
        check=True,
        capture_output=True,
    )
    return path


SITE = "opt/venvs/tinyapp/lib/python3.11/site-packages"


def _replace(path: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / path).write_text((root / path).read_text().replace(old, new))


@pytest.mark.integration
class TestReading:
    @pytest.mark.parametrize(
        ("fault", "line"),
        [
            (
                lambda root: (root / SITE / "click/core.py").write_text("x"),
                f"content differs: {SITE}/click/core.py",
            ),
            (lambda root: (root / SITE / "more.pth").write_text(""), f"unexpected: {SITE}/more.pth"),
            (lambda root: (root / SITE / "click/core.py").unlink(), f"missing: {SITE}/click/core.py"),
            (
                lambda root: (root / SITE / "click/core.py").chmod(0o755),
                f"mode differs: {SITE}/click/core.py",
            ),
            (lambda root: (root / "etc/tinyapp/env").chmod(0o644), "mode differs: etc/tinyapp/env"),
            (
                lambda root: (root / "DEBIAN/postinst").write_text("#!/bin/sh\n"),
                "content differs: DEBIAN/postinst",
            ),
            (_replace("DEBIAN/control", "python3.11", "python3.12"), "content differs: DEBIAN/control"),
        ],
    )
    def test_every_fault_is_named(
        self, stage: Stage, artifact: Artifact, unpacked: Path, fault: Callable[[Path], object], line: str
    ) -> None:
        fault(unpacked)
        (found,) = differences(stage, artifact, packed(unpacked))
        assert found.startswith(line)

    def test_another_version_is_seen(self, unpacked: Path) -> None:
        _replace("DEBIAN/control", "Version: 1.2.4", "Version: 1.2.5")(unpacked)
        assert read(packed(unpacked)).version == "1.2.5~~dev5+g1a2b3c4-1+deb12"

    def test_a_folder_that_others_may_write_to_is_refused(self, unpacked: Path) -> None:
        (unpacked / SITE / "click").chmod(0o777)
        with pytest.raises(VerificationError, match="site-packages/click has mode 0777"):
            read(packed(unpacked))

    @given(data=st.data())
    @settings(max_examples=60, deadline=None)
    def test_a_flipped_byte_is_never_more_than_a_refusal(
        self, artifact: Artifact, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        content = bytearray(artifact.path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path = tmp_path_factory.mktemp("flipped") / "flipped.deb"
        path.write_bytes(content)
        with contextlib.suppress(VerificationError):
            read(path)

    def test_what_is_no_package_is_refused(self, artifact: Artifact, tmp_path: Path) -> None:
        half = tmp_path / "half.deb"
        half.write_bytes(artifact.path.read_bytes()[: artifact.size // 2])
        with pytest.raises(VerificationError, match=r"half\.deb"):
            read(half)


HOST = hosts.Image(name="python-host", packages=("systemd", "systemd-sysv", "dbus", "python3.11"))
GET = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080/health').read().decode())"


@pytest.fixture(scope="module")
def host() -> Iterator[hosts.Host]:
    with hosts.running(HOST.tag(), systemd=True) as running:
        yield running


@pytest.mark.integration
def test_it_installs_serves_upgrades_and_leaves_nothing(host: hosts.Host, artifact: Artifact, tmp_path: Path) -> None:
    newer = small_stage.stage(
        tmp_path / "stage", settings=SERVICE, version=Version(pep440="1.2.4", debian="1.2.4", oci="1.2.4")
    )
    upgrade = build(newer, tmp_path / "out")
    host.run("sh", "-c", "rm -f /etc/dpkg/dpkg.cfg.d/*")  # what the image leaves out would be missing
    before = set(host.run("find", "/", "-xdev", "-path", "/proc", "-prune", "-o", "-print").splitlines())
    for path in (artifact.path, upgrade.path):
        host.put(path, "/root")

    host.run("dpkg", "-i", f"/root/{artifact.file}")
    hosts.until(lambda: host.succeeds("python3.11", "-c", GET))
    assert host.run("dpkg", "-V", "tinyapp") == ""
    assert "tinyapp click" in host.run("tinyapp", user="nobody")
    first = host.run("systemctl", "show", "-P", "MainPID", "tinyapp")
    host.run("sh", "-c", "echo COLOUR=red >> /etc/tinyapp/env")

    host.run("dpkg", "--force-confold", "-i", f"/root/{upgrade.file}")
    hosts.until(lambda: host.succeeds("python3.11", "-c", GET))
    assert host.run("systemctl", "show", "-P", "MainPID", "tinyapp") != first
    pid = host.run("systemctl", "show", "-P", "MainPID", "tinyapp").strip()
    assert "COLOUR=red" in host.run("sh", "-c", f"tr '\\0' '\\n' < /proc/{pid}/environ")
    assert host.run("stat", "-c", "%a %U", "/etc/tinyapp/env").split() == ["640", "root"]

    host.run("dpkg", "-P", "tinyapp")
    after = set(host.run("find", "/", "-xdev", "-path", "/proc", "-prune", "-o", "-print").splitlines())
    left = {path for path in after - before if "tinyapp" in path and not path.startswith("/root/")}
    assert left == set()
