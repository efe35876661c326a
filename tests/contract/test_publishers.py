"""What every publisher has to keep, in one suite: whoever adds a destination gets these tests with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buildonce import publishing
from buildonce.errors import VerificationError
from buildonce.system.console import SilentProgress
from tests.publishers import small_images
from tests.publishers.index_sites import DevpiSite, IndexSite, PypiserverSite
from tests.publishers.s3_sites import S3Site
from tests.publishers.sites import AptSite, FolderSite, RegistrySite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from buildonce.publishers import Outgoing, Parcel, Publisher
    from buildonce.signing import Key
    from tests.publishers.sites import Site

SITES: dict[str, Callable[[Path, Key], Site]] = {
    "apt": AptSite,
    "devpi": DevpiSite,
    "folder": lambda root, _: FolderSite(root),
    "index": PypiserverSite,
    "registry": RegistrySite,
    "s3": lambda _, key: S3Site(key),
}


class CrashError(Exception):
    """The process ends here."""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Outgoing:
    """A small release on its way, with an artifact for every destination."""
    return small_images.release(tmp_path_factory.mktemp("release"), key)


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest, tmp_path: Path, key: Key) -> Iterator[Site]:
    made = SITES[request.param](tmp_path / "site", key)
    yield made
    if isinstance(made, RegistrySite | IndexSite):  # these have connections
        made.close()


def publish(publisher: Publisher, release: Outgoing) -> tuple[Parcel, ...]:
    return publishing.deliver("there", publisher, release, SilentProgress()).sent


def test_all_of_it_is_seen(site: Site, release: Outgoing) -> None:
    sent = publish(site.publisher(), release)
    assert {one.sha256 for one in sent}
    assert site.seen(release) == site.expected(release) != {}


def test_its_users_are_told_how_to_get_it(site: Site, release: Outgoing) -> None:
    """That these lines work: tests/integration/test_apt_hosts.py, test_publish_index.py, test_publish_registry.py."""
    done = publishing.deliver("there", site.publisher(), release, SilentProgress())
    version = release.manifest.version
    assert done.use
    for line in done.use:
        assert any(one in line for one in (version.pep440, version.debian, version.oci)), line


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
    other = small_images.release(tmp_path / "other", key, application=b"two")
    with pytest.raises(VerificationError) as refused:
        site.publisher().prepare(other)
    said = str(refused.value)
    for one in (release, other):
        assert any(digest in said for digest in site.expected(one).values()), said
    assert site.state() == before


def test_a_changed_byte_is_noticed(site: Site, release: Outgoing) -> None:
    publisher = site.publisher()
    publish(publisher, release)
    site.spoil(release)
    with pytest.raises(VerificationError):
        publisher.read_back(release)
