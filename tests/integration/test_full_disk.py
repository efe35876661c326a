"""Destinations on a disk that fills up in the middle, at every size: a file system of so many pages, in memory."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from buildonce import publishing
from buildonce.errors import ReleaseError
from buildonce.system.console import SilentProgress
from tests import small_release
from tests.publishers import making
from tests.publishers.sites import AptSite, FolderSite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from buildonce.publishers import Outgoing, Publisher
    from buildonce.signing import Key
    from tests.conftest import Told
    from tests.publishers.sites import Site

PAGE = 4096
SITES: dict[str, Callable[[Path, Key], Site]] = {"apt": AptSite, "folder": lambda root, _: FolderSite(root)}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """An empty disk."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={PAGE}", "none", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("kind", SITES)
def test_it_goes_on_when_there_is_room(
    kind: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    """Not noticed before: as when somebody else fills the disk in the meantime."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 40, 0, 1 << 40))
    key, release = small_release.key(tmp_path / "keys"), making.release(tmp_path / "one")
    site = SITES[kind](small, key)
    for pages in itertools.count(1):
        subprocess.run(["mount", "-o", f"remount,size={pages * PAGE}", str(small)], check=True)
        said = refusal(site.publisher(), release)
        if not said:
            break
        assert "disk is full" in said
        assert site.seen(release) in ({}, site.expected(release))  # the page of a folder comes after all of it
    assert site.seen(release) == site.expected(release) != {}
    told(f"{kind}: full disk", pages - 1)
    assert pages > 3


def refusal(to: Publisher, release: Outgoing) -> str:
    """Why it was not published."""
    try:
        publishing.deliver("there", to, release, SilentProgress())
    except ReleaseError as error:
        return str(error)
    return ""
