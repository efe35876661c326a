"""Promotion from a folder and between buckets."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buildonce import promoting, publishing, verification
from buildonce.errors import ReleaseError, VerificationError
from buildonce.publishers import FolderPublisher, Outgoing
from buildonce.signing import release as releases
from buildonce.system.console import SilentProgress
from tests import buckets
from tests.publishers import shelves
from tests.publishers.s3_sites import S3Site, publish
from tests.publishers.sites import FolderSite
from tests.small_release import VERSION

if TYPE_CHECKING:
    from buildonce.promoting import Promoted
    from buildonce.signing import Key


TABLE = """
[tool.release.publish.{name}]
type = "s3"
bucket = "{bucket}"
prefix = "{name}"
endpoint = "{url}"
"""


@pytest.fixture
def project(site: S3Site, release: Outgoing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a folder, which has the release, an empty one, and two destinations in a bucket."""
    tables = [TABLE.format(name=one, bucket=site.bucket, url=site.url) for one in ("staging", "production")]
    for name in ("shelf", "archive"):
        tables.append(f'[tool.release.publish.{name}]\ntype = "folder"\npath = "{name}"\n')
        (tmp_path / name).mkdir()
    (tmp_path / "pyproject.toml").write_text("\n".join(['[project]\nname = "tinyapp"\nversion = "1"\n', *tables]))
    publishing.deliver("shelf", FolderPublisher(tmp_path / "shelf"), release, SilentProgress())
    # Its artifacts are no real ones: signatures and digests are verified, not what is in them.
    monkeypatch.setattr(verification, "verify", lambda folder, keys, _: releases.verify(folder, keys))
    buckets.log_in()
    return tmp_path


def promote(project: Path, key: Key, source: str, target: str, *, dry_run: bool = False) -> Promoted:
    tools = shelves.means(project / "machine", key)
    return promoting.promote(project, VERSION.pep440, tools, source=source, target=target, user="ada", dry_run=dry_run)


def test_from_a_folder_through_two_buckets(project: Path, site: S3Site, release: Outgoing, key: Key) -> None:
    staging, production = (S3Site(key, bucket=site.bucket, prefix=one) for one in ("staging", "production"))
    assert promote(project, key, "shelf", "staging", dry_run=True).published.sent
    assert staging.writes() == []
    for source, target, there in (("shelf", "staging", staging), ("staging", "production", production)):
        moved = promote(project, key, source, target)
        assert there.seen(release) == there.expected(release)
        name = f"tinyapp/{VERSION.pep440}.promotions/{source}-{target}.sigstore.json"
        assert moved.record == f"{site.url}/{site.bucket}/{target}/{name}"
        payload = json.loads(b64decode(json.loads(there.get(name))["dsseEnvelope"]["payload"]))
        assert payload["predicate"]["to"] == f"{site.url}/{site.bucket}/{target}"
    before = site.client.list_object_versions(Bucket=site.bucket)["Versions"]
    again = promote(project, key, "staging", "production")
    assert (again.published.sent, again.record) == ((), "")
    assert site.client.list_object_versions(Bucket=site.bucket)["Versions"] == before


def test_to_a_folder(project: Path, release: Outgoing, key: Key) -> None:
    promote(project, key, "shelf", "staging")
    moved = promote(project, key, "staging", "archive")
    there = FolderSite(project / "archive")
    assert there.seen(release) == there.expected(release) == FolderSite(project / "shelf").seen(release)
    assert Path(moved.record).is_file()


def test_what_was_changed_is_not_promoted(project: Path, site: S3Site, release: Outgoing, key: Key) -> None:
    promote(project, key, "shelf", "staging")
    S3Site(key, bucket=site.bucket, prefix="staging").spoil(release)
    with pytest.raises(VerificationError):
        promote(project, key, "staging", "production")
    assert S3Site(key, bucket=site.bucket, prefix="production").writes() == []


def test_a_version_that_is_not_complete_is_not_there(project: Path, site: S3Site, key: Key) -> None:
    promote(project, key, "shelf", "staging")
    S3Site(key, bucket=site.bucket, prefix="staging").delete(f"tinyapp/{VERSION.pep440}/SHA256SUMS")
    with pytest.raises(ReleaseError, match="is not published there"):
        promote(project, key, "staging", "production")


def test_names_that_lead_out_of_the_folder(site: S3Site, small: Outgoing, tmp_path: Path) -> None:
    publish(site, small)
    site.put("tinyapp/1.0/..\\x", b"")
    with pytest.raises(VerificationError, match="not the name of a file"):
        site.publisher().collect("tinyapp", "1.0", tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_folders_as_consoles_make_them_are_not_taken(site: S3Site, small: Outgoing, tmp_path: Path) -> None:
    publish(site, small)
    for name in ("tinyapp/1.0/", "tinyapp/1.0/attestations/"):
        site.put(name, b"")
    site.publisher().collect("tinyapp", "1.0", tmp_path / "into")
    assert {one.name for one in (tmp_path / "into").iterdir()} == {one.name for one in small.sent()}
