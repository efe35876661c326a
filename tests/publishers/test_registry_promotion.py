"""Promotion between repositories: the same digests, with their signatures, and only what is signed as that version."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from buildonce import promoting
from buildonce.errors import ReleaseError, VerificationError
from buildonce.publishers import image_signing, registry_promotion
from buildonce.registry import Repository
from buildonce.signing import images
from buildonce.statement import PROMOTION
from tests import faults, registries, small_release
from tests.publishers import small_images
from tests.publishers.shelves import Shelf, means
from tests.small_release import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buildonce.promoting import Promoted
    from buildonce.publishers import Means, Outgoing, Parcel
    from buildonce.signing import Key
    from tests.faults import Proxy
    from tests.registries import Running

TAG = VERSION.oci


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
    return small_images.release(tmp_path_factory.mktemp("several"), key, several=True)


@pytest.fixture
def tools(key: Key, tmp_path: Path) -> Iterator[Means]:
    made = means(tmp_path, key)
    yield made
    made.system.net.close()


@pytest.fixture
def staging(server: Running, proxy: Proxy, tools: Means, release: Outgoing, request: pytest.FixtureRequest) -> Shelf:
    """Where the release is published."""
    name = "".join(one if one.isalnum() else "-" for one in request.node.name.lower()).strip("-").replace("--", "-")
    found = Shelf(host=proxy.host, direct=server.host, name=f"staging/{name}", means=tools)
    proxy.reset()
    found.publish(release)
    proxy.reset()
    return found


@pytest.fixture
def production(staging: Shelf) -> Shelf:
    return replace(staging, name=staging.name.replace("staging", "production"))


def promote(
    source: Shelf,
    target: Shelf,
    *,
    version: str = TAG,
    key: Key | None = None,
    dry_run: bool = False,
    tools: Means | None = None,
) -> list[Parcel]:
    """Promote the version; answers what was not there."""
    here, there = (Repository.parse(one.image) for one in (source, target))
    found = registry_promotion.promote(version, here, there, tools or source.means, key=key, dry_run=dry_run)
    return [one for one in found.parcels if not one.there]


def test_the_same_digests_with_their_signatures(staging: Shelf, production: Shelf, key: Key, proxy: Proxy) -> None:
    assert promote(staging, production, key=key)
    assert proxy.received < small_images.BASE_SIZE // 5  # layers were mounted
    tags = set(staging.registry.tags())
    assert set(production.registry.tags()) == tags
    for tag in (tag for tag in tags if not tag.startswith("sha256-")):
        assert production.document(tag)[0] == staging.document(tag)[0]
    assert production.problems() == []


def test_without_a_key_the_signatures_are_those_of_staging(staging: Shelf, production: Shelf) -> None:
    promote(staging, production)
    digest, _ = production.document(TAG)
    found = image_signing.find(production.registry, digest, production.means.trusted)
    assert found.predicates == set(images.PREDICATES)
    assert found.names == {f"{staging.host}/{staging.name}:{TAG}"}


def test_again_changes_nothing(staging: Shelf, production: Shelf, key: Key, proxy: Proxy) -> None:
    promote(staging, production, key=key)
    proxy.reset()
    assert promote(staging, production, key=key) == []
    assert [one for one in proxy.requests if one.startswith("PUT")] == []


def test_a_dry_run_changes_nothing(staging: Shelf, production: Shelf) -> None:
    assert promote(staging, production, dry_run=True)
    assert production.registry.tags() == ()


def test_between_two_registries(staging: Shelf, tools: Means, key: Key, tmp_path: Path) -> None:
    with registries.running(tmp_path / "other") as other:
        production = Shelf(host=other.host, direct=other.host, name="production/app", means=tools)
        promote(staging, production, key=key)
        assert production.problems() == []
        assert production.document(TAG)[0] == staging.document(TAG)[0]


def test_who_is_not_trusted(staging: Shelf, production: Shelf, tmp_path: Path) -> None:
    stranger = means(tmp_path / "stranger", small_release.key(tmp_path / "stranger"))
    with pytest.raises(VerificationError, match="no signature") as refused:
        promote(staging, production, tools=stranger)
    stranger.system.net.close()
    assert "--key" in refused.value.problems[0].hint
    assert production.registry.tags() == ()


def test_an_older_version_under_a_new_tag(staging: Shelf, production: Shelf) -> None:
    """Signed it is, but not as this version."""
    data = staging.registry.manifest(TAG)
    assert data is not None
    staging.registry.push_manifest(data, "9.9", media_type=json.loads(data)["mediaType"])
    with pytest.raises(VerificationError, match=r"no signature as 9\.9"):
        promote(staging, production, version="9.9")
    assert production.registry.tags() == ()


def test_a_version_that_is_not_there(staging: Shelf, production: Shelf) -> None:
    with pytest.raises(ReleaseError, match=r"there is no 1\.0"):
        promote(staging, production, version="1.0")


def test_a_version_that_is_there_with_other_bytes(staging: Shelf, production: Shelf, key: Key, tmp_path: Path) -> None:
    production.publish(small_images.release(tmp_path / "other", key, application=b"two"))
    before = production.document(TAG)[0]
    with pytest.raises(VerificationError) as refused:
        promote(staging, production, key=key)
    assert before in str(refused.value)
    assert production.document(TAG)[0] == before


def test_a_fault_at_some_requests(staging: Shelf, production: Shelf, key: Key, proxy: Proxy) -> None:
    promote(staging, production, key=key)
    for number in range(1, len(proxy.exchanges), 111):
        here = production.beside(number)
        proxy.reset(faults.Fault(kind="unheard", first=number))
        with pytest.raises(ReleaseError):
            promote(staging, here, key=key)
        assert here.problems() == []
        proxy.reset()
        promote(staging, here, key=key)
        assert here.is_seen()
        assert here.problems() == []


def test_what_others_attached_goes_along(staging: Shelf, production: Shelf, tmp_path: Path, release: Outgoing) -> None:
    auditor = small_release.key(tmp_path / "auditor")
    second = means(tmp_path / "second", auditor)
    replace(staging, means=replace(second, trusted=(*staging.means.trusted, auditor.public))).publish(release)
    second.system.net.close()
    promote(staging, production)
    digest, _ = production.document(TAG)
    assert image_signing.find(production.registry, digest, [auditor.public]).predicates == set(images.PREDICATES)


def records(shelf: Shelf, tag: str) -> list[dict[str, str]]:
    """What the key says of promotions of the image."""
    digest, _ = shelf.document(tag)
    said = image_signing.find(shelf.registry, digest, shelf.means.trusted).statements
    return [dict(one) for kind, one in said if kind == PROMOTION]


def test_the_command_records_who_promoted_it_when(
    staging: Shelf, production: Shelf, tools: Means, tmp_path: Path
) -> None:
    """Once, in a statement that refers to every image; the record of the way to staging comes along."""
    third = replace(production, name=f"{production.name}/second")
    shelves = {"staging": staging, "production": production, "third": third}
    tables = [
        f'[tool.release.publish.{name}]\ntype = "registry"\nimage = "{one.image}"\n' for name, one in shelves.items()
    ]
    (tmp_path / "pyproject.toml").write_text("\n".join(['[project]\nname = "tinyapp"\nversion = "1"\n', *tables]))

    def moved(source: str, target: str, *, dry_run: bool = False) -> Promoted:
        return promoting.promote(
            tmp_path, VERSION.pep440, tools, source=source, target=target, user="ada", dry_run=dry_run
        )

    planned = moved("staging", "production", dry_run=True)
    assert planned.published.sent
    assert (planned.record, production.registry.tags()) == ("", ())
    first = moved("staging", "production")
    assert (first.version, first.record) == (VERSION.pep440, f"{production.image}:{TAG}")
    for tag in (TAG, f"{TAG}-linux-amd64", f"{TAG}-linux-arm64"):
        (said,) = records(production, tag)
        assert said.pop("on").endswith("Z")
        assert said == {
            "name": "tinyapp",
            "version": VERSION.pep440,
            "from": staging.image,
            "to": production.image,
            "by": "ada",
        }
    assert production.problems() == []
    again = moved("staging", "production")
    assert (again.published.sent, again.record) == ((), "")
    assert len(records(production, TAG)) == 1
    moved("production", "third")
    assert {one["to"] for one in records(third, TAG)} == {production.image, third.image}
