"""A bucket: objects that appear whole, are written under conditions, and are known by their sha256."""

from __future__ import annotations

import base64
import hashlib
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from buildonce.publishers.s3 import connecting, refusals
from buildonce.publishers.s3.sending import Body, ending
from buildonce.system.net import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import IO

    from buildonce.destinations import S3Destination
    from buildonce.model import Digest

__all__ = ["Bucket", "Found", "Object"]

_PART: Final = 8 << 20  # larger files are sent in parts
_MOST_PARTS: Final = 10_000
_PIECE: Final = 1 << 18
_ABSENT: Final = ("404", "NoSuchKey", "NoSuchUpload")  # a HEAD has no body to say more in
_CONFLICT: Final = (409, 412)  # ConditionalRequestConflict, PreconditionFailed
_SHA256: Final = "sha256"  # in an object's metadata


@dataclass(frozen=True, kw_only=True, slots=True)
class Object:
    """What is to be under *key*."""

    key: str
    source: Path | bytes
    sha256: Digest
    content_type: str
    cache: str
    said: Mapping[str, str] = field(default_factory=dict)  # metadata beside its sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """An object that is there."""

    sha256: str
    said: Mapping[str, str]  # its metadata


class Bucket:
    """Safe to use from several threads. Connects on first use.

    Raises what :func:`refusals.explained` explains, and :class:`buildonce.system.net.Interrupted` after :meth:`stop`.
    """

    def __init__(self, destination: S3Destination, *, attempts: int) -> None:
        self._destination, self._attempts = destination, attempts
        self._stop = threading.Event()
        self._connecting = threading.Lock()
        self._client: Any = None

    def stop(self) -> None:
        """End all that is sent or fetched."""
        self._stop.set()

    def pause(self, seconds: float) -> None:
        """Wait, unless told to stop."""
        if self._stop.wait(seconds):
            raise Interrupted

    def listing(self, prefix: str) -> dict[str, int]:
        """The objects below *prefix*: key → size."""
        found: dict[str, int] = {}
        token: dict[str, str] = {}
        while True:
            answer = self._ask("list_objects_v2", Prefix=prefix, **token)
            rows = answer.get("Contents", ())
            # Consoles make "folders": empty objects whose names end in a slash.
            found |= {row["Key"]: row["Size"] for row in rows if not row["Key"].endswith("/")}
            if not answer.get("IsTruncated"):
                return found
            token = {"ContinuationToken": answer["NextContinuationToken"]}

    def find(self, key: str) -> Found | None:
        """The object under *key*: its sha256 as the server checked it, or who sent it said, or of its bytes."""
        with self._absent() as absent:
            answer = self._ask("head_object", Key=key, ChecksumMode="ENABLED")
        if absent:
            return None
        said = answer.get("Metadata", {})
        checksum = answer.get("ChecksumSHA256", "")
        whole = (
            checksum and "-" not in checksum and "-" not in answer.get("ETag", "")
        )  # else it is one of the parts' digests
        digest = base64.b64decode(checksum).hex() if whole else said.get(_SHA256, "")
        return Found(sha256=digest or self.fetched(key), said=said)

    def fetched(self, key: str) -> str:
        """The sha256 of what somebody gets who fetches *key*; "" when it is not there."""
        digest = hashlib.sha256()
        return digest.hexdigest() if self.fetch(key, digest.update) else ""

    def read(self, key: str) -> tuple[bytes, str] | None:
        """A small object and its ETag; None when it is not there."""
        data = bytearray()
        etag = self.fetch(key, data.extend)
        return (bytes(data), etag) if etag else None

    def fetch(self, key: str, take: Callable[[bytes], object]) -> str:
        """Hand on the bytes of *key*, going on where a connection broke. Answers its ETag; "" when it is not there."""
        from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

        came, etag = 0, ""
        for left in reversed(range(self._attempts)):
            further = {"Range": f"bytes={came}-", "IfMatch": etag} if came else {}
            with self._absent() as absent:
                answer = self._ask("get_object", Key=key, **further)
            if absent:
                return ""
            etag = str(answer.get("ETag", ""))
            try:
                with closing(answer["Body"]) as body:
                    for piece in body.iter_chunks(_PIECE):
                        self.pause(0)
                        take(piece)
                        came += len(piece)
                break
            except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
                if not left:
                    raise
        return etag

    def put(self, one: Object, came: Callable[[int], None] = lambda _: None, *, etag: str = "") -> bool:
        """Make *one* where nothing is, or in the place of what has *etag*.

        Answers False when something else is there, or was written there at the same time. *came* hears how many bytes
        were sent.
        """
        from botocore.exceptions import ClientError

        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        try:
            with ending():
                if isinstance(one.source, bytes):
                    self._put(one, one.source, condition)
                else:
                    self._put_file(one, one.source, condition, came)
        except ClientError as error:
            if refusals.status(error) in _CONFLICT or refusals.code(error) in _ABSENT:
                return False
            raise
        return True

    def require_write(self, key: str) -> None:
        """Begin to send *key* in parts, and give it up: nothing is written, and who may not write learns it."""
        self._ask("abort_multipart_upload", Key=key, UploadId=self._begin(Key=key))

    def give_up(self, prefix: str) -> bool:
        """Remove all that was sent in parts below *prefix* and not finished. False when the user may not list that."""
        from botocore.exceptions import ClientError

        try:
            answer = self._ask("list_multipart_uploads", Prefix=prefix)
        except ClientError as error:
            if refusals.status(error) not in (403, 405, 501):
                raise
            return False
        for row in answer.get("Uploads", ()):
            with self._absent():
                self._ask("abort_multipart_upload", Key=row["Key"], UploadId=row["UploadId"])
        return not answer.get("IsTruncated") or self.give_up(prefix)

    def _put(self, one: Object, body: bytes | Body, condition: Mapping[str, str]) -> None:
        checksum = base64.b64encode(bytes.fromhex(one.sha256)).decode()
        self._ask(
            "put_object",
            **_headers(one),
            **condition,
            Body=body,
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=checksum,
        )

    def _put_file(self, one: Object, path: Path, condition: Mapping[str, str], came: Callable[[int], None]) -> None:
        size = path.stat().st_size
        with path.open("rb") as file:
            if size > _PART:
                self._put_parts(one, file, size, condition, came)
            else:
                self._put(one, Body(file, 0, size, came=came, stop=self._stop), condition)

    def _put_parts(
        self, one: Object, file: IO[bytes], size: int, condition: Mapping[str, str], came: Callable[[int], None]
    ) -> None:
        part = max(_PART, -(-size // _MOST_PARTS))
        upload = {"Key": one.key, "UploadId": self._begin(**_headers(one))}
        try:
            parts = []
            for number, start in enumerate(range(0, size, part), start=1):
                body = Body(file, start, min(part, size - start), came=came, stop=self._stop)
                answer = self._ask("upload_part", **upload, PartNumber=number, Body=body)
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
            self._ask("complete_multipart_upload", **upload, **condition, MultipartUpload={"Parts": parts})
        except BaseException:
            with suppress(Exception):  # what stays is removed when the version is complete
                self._ask("abort_multipart_upload", **upload)
            raise

    def _begin(self, **named: Any) -> str:
        from botocore.parsers import ResponseParserError

        number = self._ask("create_multipart_upload", **named).get("UploadId")
        if not number:
            raise ResponseParserError("it names no upload")
        return str(number)

    def _ask(self, operation: str, **named: Any) -> Any:
        with self._connecting:
            self._client = self._client or connecting.connect(self._destination, self._attempts)
        return getattr(self._client, operation)(Bucket=self._destination.bucket, **named)

    @contextmanager
    def _absent(self) -> Iterator[list[str]]:
        """A list that has an element afterwards when the object was not there."""
        from botocore.exceptions import ClientError

        absent: list[str] = []
        try:
            yield absent
        except ClientError as error:
            if refusals.code(error) not in _ABSENT:
                raise
            absent.append(refusals.code(error))


def _headers(one: Object) -> dict[str, Any]:
    return {
        "Key": one.key,
        "ContentType": one.content_type,
        "CacheControl": one.cache,
        "Metadata": {_SHA256: one.sha256, **one.said},
    }
