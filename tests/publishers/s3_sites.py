"""A bucket as a destination, and what somebody sees who begins at the page."""

from __future__ import annotations

import hashlib
import html
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from botocore.exceptions import ClientError

from buildonce import publishing
from buildonce.destinations import S3Destination
from buildonce.publishers import S3Publisher
from buildonce.publishers.s3.bucket import Bucket
from buildonce.system.console import SilentProgress
from tests import buckets
from tests.publishers.sites import means

if TYPE_CHECKING:
    from buildonce.publishers import Outgoing
    from buildonce.signing import Key

__all__ = ["S3Site", "bucket_of", "publish"]


class S3Site:
    """A bucket of its own, written through *url* (which may be a proxy), looked at directly."""

    def __init__(self, key: Key, *, url: str = "", bucket: str = "", prefix: str = "team/stable") -> None:
        self.server = buckets.server()
        self.key, self.url, self.prefix = key, url or self.server.url, prefix
        self.client = self.server.client()
        self.bucket = bucket or self.server.new_bucket()

    def destination(self) -> S3Destination:
        return S3Destination(type="s3", bucket=self.bucket, prefix=self.prefix, endpoint=self.url)

    def publisher(self, *, attempts: int = 2) -> S3Publisher:
        buckets.log_in()
        return S3Publisher(self.destination(), means(self.key), attempts=attempts)

    def seen(self, release: Outgoing) -> dict[str, str]:
        """The files of the version, when the page lists it; what the page says of them is so."""
        name, version = release.manifest.name, release.manifest.version.pep440
        text = self.text(f"{name}/index.html")
        if f'<h2 id="{html.escape(version)}">' not in text:
            return {}
        found = {one: self.digest(f"{name}/{version}/{one}") for one in self.names(f"{name}/{version}/")}
        links = re.findall(r'<td><a href="([^"]+)">.*<code>(\w+)</code>', text)
        said = {unquote(link): digest for link, digest in links if unquote(link).startswith(f"{version}/")}
        assert said == {f"{version}/{one}": found[one] for one in release.files}
        return found

    def expected(self, release: Outgoing) -> dict[str, str]:
        return {
            str(path.relative_to(release.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in release.folder.rglob("*")
            if path.is_file() and "log" not in path.relative_to(release.folder).parts
        }

    def state(self) -> object:
        return self.writes(), self.unfinished()

    def spoil(self, release: Outgoing) -> None:
        name = f"{release.manifest.name}/{release.manifest.version.pep440}/{next(iter(release.files))}"
        self.put(name, self.get(name) + b"!")

    def writes(self) -> list[tuple[str, str]]:
        """Key and number of every version of an object that ever was: one for each write."""
        pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=self._key(""))
        return sorted((row["Key"], row["VersionId"]) for page in pages for row in page.get("Versions", ()))

    def unfinished(self) -> list[str]:
        """Keys of what was sent in parts and not finished."""
        found = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=self._key(""))
        return [row["Key"] for row in found.get("Uploads", ())]

    def names(self, below: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._key(below))
        return [row["Key"].removeprefix(self._key(below)) for page in pages for row in page.get("Contents", ())]

    def put(self, name: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=self._key(name), Body=data)

    def delete(self, name: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=self._key(name))

    def get(self, name: str) -> bytes:
        return bytes(self.client.get_object(Bucket=self.bucket, Key=self._key(name))["Body"].read())

    def text(self, name: str) -> str:
        """ "" when it is not there."""
        try:
            return self.get(name).decode()
        except ClientError:
            return ""

    def digest(self, name: str) -> str:
        return hashlib.sha256(self.get(name)).hexdigest()

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name


def publish(site: S3Site, release: Outgoing, *, attempts: int = 2) -> publishing.Published:
    return publishing.deliver("bucket", site.publisher(attempts=attempts), release, SilentProgress())


def bucket_of(site: S3Site, *, attempts: int = 2) -> Bucket:
    buckets.log_in()
    return Bucket(site.destination(), attempts=attempts)
