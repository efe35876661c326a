"""A folder as a destination: what is particular to it."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from buildonce import publishing
from buildonce.errors import ReleaseError
from buildonce.publishers import FolderPublisher, Outgoing
from buildonce.system.console import SilentProgress
from tests.crashing import Crashes
from tests.publishers.sites import FolderSite

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Told


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    root = tmp_path / "shelf"
    root.mkdir()
    return root


def publish(shelf: Path, release: Outgoing) -> None:
    publishing.deliver("shelf", FolderPublisher(shelf), release, SilentProgress())


def test_a_folder_that_is_not_there_is_never_made(tmp_path: Path, release: Outgoing) -> None:
    with pytest.raises(ReleaseError, match="no such folder") as refused:
        FolderPublisher(tmp_path / "mount").prepare(release)
    assert f"mkdir -p {tmp_path}/mount" in refused.value.problems[0].hint
    assert not (tmp_path / "mount").exists()


def test_a_disk_that_is_too_small_is_noticed_before(
    shelf: Path, release: Outgoing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 5, 5))
    with pytest.raises(ReleaseError, match="disk is full"):
        FolderPublisher(shelf).prepare(release)
    assert list(shelf.iterdir()) == []


def test_modes_do_not_depend_on_the_umask(shelf: Path, release: Outgoing) -> None:
    shelf.chmod(0o755)
    before = os.umask(0o077)
    try:
        publish(shelf, release)
    finally:
        os.umask(before)
    version = shelf / release.manifest.name / release.manifest.version.pep440
    modes = {path.stat().st_mode & 0o777 for path in (version.parent, version, version / "attestations")}
    assert modes == {0o755}
    assert {path.stat().st_mode & 0o777 for path in shelf.rglob("*") if path.is_file()} == {0o644}  # the lock's, too


def test_logs_stay_behind(shelf: Path, release: Outgoing) -> None:
    assert list(release.folder.rglob("*.log"))
    publish(shelf, release)
    assert list(shelf.rglob("*.log")) == []


def test_what_others_attest_is_added(shelf: Path, release: Outgoing, tmp_path: Path) -> None:
    publish(shelf, release)
    more = shutil.copytree(release.folder, tmp_path / "more")
    signer = next((more / "attestations").iterdir())
    shutil.copytree(signer, signer.with_name("rebuilder-0123abcd"))
    again = Outgoing(folder=more, manifest=release.manifest, files=release.files, digest=release.digest)
    publish(shelf, again)
    assert FolderSite(shelf).seen(again) == FolderSite(shelf).expected(again)


def test_the_page_lists_every_version(shelf: Path, release: Outgoing) -> None:
    publish(shelf, release)
    text = (shelf / release.manifest.name / "index.html").read_text()
    for name, digest in release.files.items():
        assert name in text
        assert digest in text
    checked = subprocess.run(
        ["python3", "-c", "import sys, html.parser; html.parser.HTMLParser().feed(sys.stdin.read())"],
        input=text,
        text=True,
        check=False,
    )
    assert checked.returncode == 0


def test_many_at_once(shelf: Path, release: Outgoing) -> None:
    failures: list[Exception] = []

    def run() -> None:
        try:
            publish(shelf, release)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test tells
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert FolderSite(shelf).seen(release) == FolderSite(shelf).expected(release)
    assert [path.name for path in (shelf / ".incoming").iterdir()] == ["lock"]


def test_killed_at_every_change(tmp_path: Path, release: Outgoing, told: Told) -> None:
    """In between the version is there whole, or not at all; again, and all is there."""
    number, crashes = itertools.count(), Crashes()

    def fresh() -> Path:
        folder = tmp_path / "crashed" / str(next(number))
        folder.mkdir(parents=True)
        return folder

    for folder in crashes.each(publish, release, below=fresh):
        site = FolderSite(folder)
        assert site.seen(release) in ({}, site.expected(release)), f"after {crashes.count} changes"
        publish(folder, release)
        assert site.seen(release) == site.expected(release)
        assert list(folder.rglob(".*.part")) == []
    told("folder: killed at each change of the disk", crashes.count)
    assert crashes.count > 20
