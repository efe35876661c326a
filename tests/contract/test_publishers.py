"""What every publisher has to keep, in one suite: whoever adds a destination gets these tests with it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from buildonce import publishing
from buildonce.errors import VerificationError
from buildonce.signing import release as releases
from buildonce.signing import sums
from buildonce.system.console import SilentProgress
from tests import small_release
from tests.publishers.index_sites import DevpiSite, IndexSite, PypiserverSite
from tests.publishers.sites import AptSite, FolderSite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from buildonce.publishers import Outgoing, Parcel, Publisher
    from buildonce.signing import Key
    from tests.publishers.sites import Site

SITES: dict[str, Callable[[Path, Key], Site]] = {
    "apt": AptSite,
    "devpi": DevpiSite,
    "folder": lambda root, _: FolderSite(root),
    "index": PypiserverSite,
}


class CrashError(Exception):
    """The process ends here."""


@pytest.fixture
def release(signed: Path, key: Key) -> Outgoing:
    """The small release on its way."""
    return publishing.outgoing(signed, releases.verify(signed, [key.public]))


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest, tmp_path: Path, key: Key) -> Site:
    return SITES[request.param](tmp_path / "site", key)


def publish(publisher: Publisher, release: Outgoing) -> tuple[Parcel, ...]:
    return publishing.deliver("there", publisher, release, SilentProgress()).sent


def test_all_of_it_is_seen(site: Site, release: Outgoing) -> None:
    sent = publish(site.publisher(), release)
    assert {one.sha256 for one in sent}
    assert site.seen(release) == site.expected(release) != {}


def test_again_changes_nothing(site: Site, release: Outgoing) -> None:
    publish(site.publisher(), release)
    before = site.state()
    assert publish(site.publisher(), release) == ()
    assert site.state() == before


def test_preparing_changes_nothing(site: Site, release: Outgoing) -> None:
    publisher = site.publisher()
    before = site.state()
    parcels = publisher.prepare(release)
    assert parcels
    assert not any(one.there for one in parcels)
    assert site.state() == before
    assert site.seen(release) == {}


def test_nothing_is_seen_before_all_is_there(site: Site, release: Outgoing) -> None:
    publisher = site.publisher()
    with publisher.alone():
        for parcel in publisher.prepare(release):
            publisher.send(parcel, release, lambda _: None)
            assert site.seen(release) == {}
        publisher.reveal(release)
    assert site.seen(release) == site.expected(release)


def test_after_a_crash_anywhere_it_goes_on(site: Site, release: Outgoing) -> None:
    """A process that ended after any number of parcels, and one that ended in the middle of one."""
    for parcel in site.publisher().prepare(release):
        publisher = site.publisher()
        with pytest.raises(CrashError), publisher.alone():
            publisher.send(parcel, release, crash)
        assert site.seen(release) == {}
        with publisher.alone():
            publisher.send(parcel, release, lambda _: None)
        assert site.seen(release) == {}
    publish(site.publisher(), release)
    assert site.seen(release) == site.expected(release)


def crash(_: int) -> None:
    raise CrashError


def test_other_bytes_are_refused(site: Site, release: Outgoing, key: Key, tmp_path: Path) -> None:
    publish(site.publisher(), release)
    before = site.state()
    other = rebuilt(release, key, tmp_path)
    with pytest.raises(VerificationError) as refused:
        site.publisher().prepare(other)
    said = str(refused.value)
    assert any(digest in said for digest in release.files.values()), said
    assert any(digest in said for digest in other.files.values()), said
    assert site.state() == before


def rebuilt(release: Outgoing, key: Key, tmp_path: Path) -> Outgoing:
    """The same version with other bytes: every artifact is longer."""
    folder = shutil.copytree(release.folder, tmp_path / "other")
    for name in ("attestations", "log"):
        shutil.rmtree(folder / name)
    made = []
    for one in release.manifest.artifacts:
        path = folder / one.file
        path.write_bytes(path.read_bytes() + b"!")
        made.append(small_release.described(one, path))
    for name, data in small_release.documents(small_release.stage(tmp_path / "stage"), made).items():
        (folder / name).write_bytes(data)
    (folder / "SHA256SUMS").write_bytes(sums.sums(folder))
    releases.sign(folder, key)
    return publishing.outgoing(folder, releases.verify(folder, [key.public]))


def test_a_changed_byte_is_noticed(site: Site, release: Outgoing) -> None:
    publisher = site.publisher()
    publish(publisher, release)
    site.spoil(release)
    with pytest.raises(VerificationError):
        publisher.read_back(release)
