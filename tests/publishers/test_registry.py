"""A registry as a destination: a real one, with everything that can go wrong on the way to it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from buildonce.errors import ReleaseError, VerificationError
from buildonce.publishers import image_signing
from buildonce.publishers.images import of as images_of
from buildonce.registry import Repository
from buildonce.signing import images
from buildonce.system import files
from buildonce.system.net import Interrupted
from tests import faults, registries, small_release
from tests.publishers import small_images
from tests.publishers.listing import listing
from tests.publishers.shelves import Shelf, means
from tests.small_release import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buildonce.publishers import Means, Outgoing
    from buildonce.signing import Key
    from tests.faults import Proxy
    from tests.registries import Running

TAG = VERSION.oci
PLATFORM = f"{TAG}-linux-amd64"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with registries.running(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="module")
def proxy(server: Running) -> Iterator[Proxy]:
    with faults.proxy(f"http://{server.host}") as found:
        yield found


@pytest.fixture(scope="module")
def release(key: Key, tmp_path_factory: pytest.TempPathFactory) -> Outgoing:
    return small_images.release(tmp_path_factory.mktemp("one"), key)


@pytest.fixture(scope="module")
def several(key: Key, tmp_path_factory: pytest.TempPathFactory) -> Outgoing:
    return small_images.release(tmp_path_factory.mktemp("several"), key, several=True)


@pytest.fixture(scope="module")
def other(key: Key, tmp_path_factory: pytest.TempPathFactory) -> Outgoing:
    """The same version with other bytes."""
    return small_images.release(tmp_path_factory.mktemp("other"), key, application=b"two")


@pytest.fixture
def tools(key: Key, tmp_path: Path) -> Iterator[Means]:
    made = means(tmp_path, key)
    yield made
    made.system.net.close()


@pytest.fixture
def shelf(server: Running, proxy: Proxy, tools: Means, request: pytest.FixtureRequest) -> Shelf:
    """An empty repository of the test's own."""
    proxy.reset()
    name = "".join(one if one.isalnum() else "-" for one in request.node.name.lower()).strip("-").replace("--", "-")
    return Shelf(host=proxy.host, direct=server.host, name=f"team/{name}", means=tools)


def writes(proxy: Proxy) -> list[str]:
    """What was stored; asking whether one may push is no more than a question."""
    return [f"{one.method} {one.path}" for one in proxy.exchanges if one.method in ("PUT", "PATCH") or one.received]


def test_an_image_is_published_with_all_that_is_signed(shelf: Shelf, release: Outgoing, proxy: Proxy) -> None:
    published = shelf.publish(release)
    assert published.sent == published.parcels
    assert shelf.problems() == []
    digest, _ = shelf.document(TAG)
    assert published.use == (f"docker pull {shelf.host}/{shelf.name}@sha256:{digest}  # {TAG}",)
    assert shelf.document(PLATFORM)[0] == digest
    assert set(shelf.registry.tags()) == {TAG, PLATFORM, f"sha256-{digest}", f"sha256-{digest}.sig"}
    assert proxy.requests[-1].startswith("GET")  # reading back
    assert writes(proxy)[-1].endswith(f"manifests/{TAG}")


def test_an_index_is_published_with_its_images(shelf: Shelf, several: Outgoing) -> None:
    published = shelf.publish(several)
    assert shelf.problems() == []
    index, found = shelf.document(TAG)
    assert published.use == (f"docker pull {shelf.host}/{shelf.name}@sha256:{index}  # {TAG}",)
    children = {row["platform"]["architecture"]: row["digest"] for row in found["manifests"]}
    for architecture, digest in children.items():
        assert f"sha256:{shelf.document(f'{TAG}-linux-{architecture}')[0]}" == digest


def test_images_of_two_distributions_have_tags_of_their_own(key: Key, tmp_path: Path) -> None:
    tags = images_of(small_images.release(tmp_path, key, distributions=True)).tags
    names = {f"{TAG}-{name}{platform}" for name in ("debian-12", "debian-13") for platform in ("", "-linux-amd64")}
    assert {tag.name for tag in tags} == names


def test_the_bytes_are_those_of_the_archive(shelf: Shelf, release: Outgoing, server: Running) -> None:
    shelf.publish(release)
    (archive,) = release.of_kind("oci")
    in_archive = {files.sha256_bytes(data) for data in _blobs(archive)}
    digest, document = shelf.document(TAG)
    digests = {row["digest"].removeprefix("sha256:") for row in (*document["layers"], document["config"])}
    assert {*digests, digest} == in_archive
    assert all(files.sha256_file(server.blob(one)) == one for one in in_archive)


def _blobs(archive: Path) -> list[bytes]:
    import tarfile

    with tarfile.open(archive) as found:
        return [found.extractfile(one).read() for one in found if one.name.startswith("blobs/") and one.isreg()]  # type: ignore[union-attr]


def test_again_changes_nothing(shelf: Shelf, release: Outgoing, proxy: Proxy) -> None:
    shelf.publish(release)
    proxy.reset()
    assert shelf.publish(release).sent == ()
    assert writes(proxy) == []


def test_asking_changes_nothing(shelf: Shelf, release: Outgoing, proxy: Proxy) -> None:
    parcels = shelf.publisher().prepare(release)
    assert not any(one.there for one in parcels)
    assert writes(proxy) == []
    assert [one.status for one in proxy.exchanges if one.method == "DELETE"] == [204]  # the upload that it began
    assert len({one.name for one in parcels}) == len(parcels)


def test_other_bytes_are_refused(shelf: Shelf, release: Outgoing, other: Outgoing, proxy: Proxy) -> None:
    shelf.publish(release)
    before = shelf.document(TAG)[0]
    proxy.reset()
    with pytest.raises(VerificationError) as refused:
        shelf.publish(other)
    said = str(refused.value)
    assert before in said
    assert refused.value.problems[0].where.endswith(tuple(f":{one}" for one in (TAG, PLATFORM)))
    assert writes(proxy) == []
    assert shelf.document(TAG)[0] == before
    assert shelf.problems() == []


@pytest.mark.parametrize("kind", faults.KINDS)
def test_a_fault_at_some_requests(shelf: Shelf, release: Outgoing, proxy: Proxy, kind: faults.Kind) -> None:
    """At all of them: tests/integration/test_publish_registry.py."""
    assert shelf.survives(release, proxy, kind, times=1, every=23) > 3


def test_a_server_that_goes_down(shelf: Shelf, release: Outgoing, proxy: Proxy) -> None:
    assert shelf.survives(release, proxy, "unheard", times=None, every=29) > 2


def test_two_publishers_at_once(shelf: Shelf, release: Outgoing, tmp_path: Path, key: Key) -> None:
    """On two machines, with a key each."""
    keys = {"a": key, "b": small_release.key(tmp_path / "b")}
    failures: list[BaseException] = []
    trusted = tuple(one.public for one in keys.values())

    def run(name: str) -> None:
        from dataclasses import replace

        machine = replace(means(tmp_path / name, keys[name], patience=4), trusted=trusted)
        try:
            Shelf(host=shelf.host, direct=shelf.direct, name=shelf.name, means=machine).publish(release)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test tells
            failures.append(error)
        machine.system.net.close()

    for _ in range(2):  # who lost a race is told to run the same line again
        threads = [threading.Thread(target=run, args=(name,)) for name in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lost = [str(one) for one in failures]
        if not failures:
            break
        assert all("are not there" in one for one in lost), lost
        failures.clear()
    digest, _ = shelf.document(TAG)
    for one in keys.values():
        assert image_signing.find(shelf.registry, digest, [one.public]).predicates == set(images.PREDICATES)
    assert shelf.problems() == []


def test_two_that_publish_other_bytes_at_once(shelf: Shelf, release: Outgoing, other: Outgoing, tools: Means) -> None:
    """On one machine: one of them is published, the other is refused."""
    found: list[str] = []

    def run(one: Outgoing) -> None:
        try:
            shelf.publish(one)
            found.append("published")
        except VerificationError as error:
            found.append(str(error))

    threads = [threading.Thread(target=run, args=(one,)) for one in (release, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.partition(":")[0] for one in found) == ["published", "published are other bytes"]
    assert shelf.problems() == []


def test_what_others_signed_stays(shelf: Shelf, release: Outgoing, tmp_path: Path) -> None:
    stranger = small_release.key(tmp_path / "stranger")
    before = Shelf(host=shelf.host, direct=shelf.direct, name=shelf.name, means=means(tmp_path / "s", stranger))
    from dataclasses import replace

    both = (stranger.public, *shelf.means.trusted)
    Shelf(before.host, before.direct, before.name, replace(before.means, trusted=both)).publish(release)
    before.means.system.net.close()
    shelf.publish(release)
    digest, _ = shelf.document(TAG)
    found = image_signing.find(shelf.registry, digest, [stranger.public])
    assert found.predicates == set(images.PREDICATES)
    assert len(found.names) == 2
    assert shelf.problems() == []


def test_layers_of_another_repository_are_not_sent_again(shelf: Shelf, release: Outgoing, proxy: Proxy) -> None:
    base = shelf.beside(0)
    base.publish(release)
    proxy.reset()
    shelf.publish(release, mount=[f"oci://{shelf.host}/team/nobody", base.image])
    assert proxy.received < small_images.BASE_SIZE // 5
    assert shelf.problems() == []


def test_a_change_of_the_application_is_one_layer(release: Outgoing, other: Outgoing) -> None:
    """What goes over the line for it: tests/integration/test_publish_registry.py."""
    there = {blob.digest for blob in images_of(release).blobs}
    new = [blob.title for blob in images_of(other).blobs if blob.digest not in there]
    assert new == ["debian-12 layer 2 of 2 (application)", "debian-12 configuration"]


def test_a_changed_byte_is_noticed(shelf: Shelf, release: Outgoing, server: Running) -> None:
    publisher = shelf.publisher()
    parcels = publisher.prepare(release)
    for parcel in parcels:
        publisher.send(parcel, release, lambda _: None)
    publisher.reveal(release)
    publisher.read_back(release)
    layer = next(one for one in parcels if one.name == "debian-12 layer 2 of 2 (application)")
    place = server.blob(layer.sha256)
    data = place.read_bytes()
    try:
        place.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(VerificationError):
            publisher.read_back(release)
    finally:
        place.write_bytes(data)


def test_what_a_registry_lost_comes_back(shelf: Shelf, release: Outgoing, proxy: Proxy) -> None:
    """As after a garbage collection that deletes manifests without a tag, or a disk that was restored."""
    shelf.publish(release)
    digest, document = shelf.document(TAG)
    (row, *_) = image_signing.fallback(shelf.registry, digest)
    layer = document["layers"][0]["digest"]
    for path in (f"manifests/{row['digest']}", f"blobs/{layer}"):
        url = Repository.parse(f"oci://{shelf.direct}/{shelf.name}").url(path)
        assert shelf.registry.ask("DELETE", url, headers={}).status == 202
    assert len(shelf.problems()) == 4  # a statement and a layer, by each of two tags
    assert [one.name for one in shelf.publish(release).sent] == [
        "debian-12 layer 1 of 2 (base)",
        "manifest of the debian-12 manifest: signature",
    ]
    assert shelf.problems() == []


def test_a_stopped_upload_ends(shelf: Shelf, release: Outgoing) -> None:
    publisher = shelf.publisher()
    first = publisher.prepare(release)[0]
    publisher.stop()
    with pytest.raises(Interrupted):
        publisher.send(first, release, lambda _: None)
    assert not shelf.is_seen()


def test_a_release_without_image(shelf: Shelf, key: Key, tmp_path: Path) -> None:
    from buildonce import publishing
    from buildonce.signing import release as releases

    folder = small_release.unsigned(tmp_path / "tinyapp")
    releases.sign(folder, key)
    plain = publishing.outgoing(folder, releases.verify(folder, [key.public]))
    with pytest.raises(ReleaseError, match="no image") as refused:
        shelf.publisher().prepare(plain)
    assert "formats" in refused.value.problems[0].hint


def test_a_registry_that_lists_what_refers_to_an_image(shelf: Shelf, release: Outgoing, server: Running) -> None:
    with listing(server.host) as host:
        here = Shelf(host=host, direct=host, name=shelf.name, means=shelf.means)
        sent = {one.name for one in here.publish(release).sent}
        assert not any(name.startswith("what refers to") for name in sent)
        assert here.problems() == []
        digest, _ = here.document(TAG)
        assert set(here.registry.tags()) == {TAG, PLATFORM, f"sha256-{digest}.sig"}
        assert here.publish(release).sent == ()
