"""An upload: the form that twine and uv send (docs.pypi.org/api/upload), as multipart/form-data (RFC 7578).

It is written here because twine brings an HTTP client of its own, which would know nothing of this machine's netrc
file, certificates and retries as the rest of the program does (docs/decisions/0012-our-own-upload.md).
"""

from __future__ import annotations

import re
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from packaging.metadata import RawMetadata, parse_email
from packaging.utils import parse_wheel_filename

from buildonce.errors import VerificationError
from buildonce.system.archive import Member

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import IO

    from buildonce.publishers.index.contents import Item
    from buildonce.system.archive import Part

__all__ = ["Form", "asking", "uploading"]

_PIECE: Final = 1 << 17
_MOST_METADATA: Final = 16 << 20
_METADATA: Final = re.compile(r"[^/]+\.dist-info/METADATA")
_PKG_INFO: Final = re.compile(r"[^/]+/PKG-INFO")
# What the form calls otherwise than packaging.metadata does.
_FIELDS: Final = {
    "platforms": "platform",
    "supported_platforms": "supported_platform",
    "license_files": "license_file",
}
_NOT_SENT: Final = ("name", "version", "import_names", "import_namespaces")  # said already, or not known to any index
_LINE: Final = "\r\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """The fields of a form and at most one file."""

    fields: tuple[tuple[str, str], ...]
    boundary: str
    filename: str = ""
    source: Path | Part | bytes = b""

    @property
    def headers(self) -> dict[str, str]:
        """What a request with this form says of it."""
        size = len(self._head()) + self._file.size + len(self._tail())
        return {"Content-Type": f"multipart/form-data; boundary={self.boundary}", "Content-Length": str(size)}

    def pieces(self, came: Callable[[int], None] = lambda _: None) -> Iterator[bytes]:
        """The body. *came* hears how many bytes of the file were handed on."""
        yield self._head()
        done = 0
        with self._file.open() as stream:
            while piece := stream.read(_PIECE):
                yield piece
                done += len(piece)
                came(done)
        yield self._tail()

    @property
    def _file(self) -> Member:
        return Member(path=self.filename or "none", source=self.source)

    def _head(self) -> bytes:
        parts = [
            f'--{self.boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in self.fields
        ]
        if self.filename:
            parts.append(
                f'--{self.boundary}\r\nContent-Disposition: form-data; name="content"; filename="{self.filename}"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n"
            )
        return "".join(parts).encode()

    def _tail(self) -> bytes:
        return f"{_LINE if self.filename else ''}--{self.boundary}--{_LINE}".encode()


def asking() -> Form:
    """An upload without a file: refused by every index, and by who may not upload for another reason."""
    return Form(fields=((":action", "file_upload"), ("protocol_version", "1")), boundary="buildonce")


def uploading(item: Item, source: Path | Part | bytes) -> Form:
    """The upload of *item*. Raises :class:`VerificationError` when its metadata cannot be read."""
    head = {"name": item.project, "version": item.version}
    # The boundary is not in the file: nobody finds a file that holds its own sha256.
    boundary = f"buildonce-{item.sha256}"
    if item.kind == "documents":
        fields = ((":action", "doc_upload"), *head.items())
        return Form(fields=fields, boundary=boundary, filename=item.filename, source=source)
    wheel = item.kind == "wheel"
    fields = (
        (":action", "file_upload"),
        ("protocol_version", "1"),
        *head.items(),
        ("filetype", "bdist_wheel" if wheel else "sdist"),
        ("pyversion", _pyversion(item.filename) if wheel else "source"),
        ("sha256_digest", item.sha256),
        *_described(_metadata(item, source)),
    )
    return Form(fields=fields, boundary=boundary, filename=item.filename, source=source)


def _pyversion(filename: str) -> str:
    """The Python tags of a wheel: ``py3``, ``cp311``, ``py2.py3``."""
    return ".".join(sorted({tag.interpreter for tag in parse_wheel_filename(filename)[3]}))


def _metadata(item: Item, source: Path | Part | bytes) -> RawMetadata:
    try:
        with Member(path=item.filename, source=source).open() as stream:
            data = _of_wheel(stream) if item.kind == "wheel" else _of_sdist(stream)
    except (OSError, EOFError, StopIteration, KeyError, zipfile.BadZipFile, tarfile.TarError, zlib.error) as error:
        raise VerificationError(f"its metadata cannot be read: {error}", where=item.filename) from error
    return parse_email(data)[0]


def _of_wheel(stream: IO[bytes]) -> bytes:
    with zipfile.ZipFile(stream) as archive:
        name = next(filter(_METADATA.fullmatch, archive.namelist()))
        with archive.open(name) as file:
            return file.read(_MOST_METADATA)


def _of_sdist(stream: IO[bytes]) -> bytes:
    with tarfile.open(fileobj=stream) as archive:
        member = next(one for one in archive if _PKG_INFO.fullmatch(one.name))
        file = archive.extractfile(member)
        return file.read(_MOST_METADATA) if file else b""


def _described(metadata: RawMetadata) -> Iterator[tuple[str, str]]:
    """The form's fields for core metadata."""
    for key, value in cast("dict[str, object]", metadata).items():
        field = _FIELDS.get(key, key)
        if key in _NOT_SENT:
            continue
        if key == "keywords" and isinstance(value, list):
            yield field, ", ".join(value)
        elif isinstance(value, dict):
            yield from ((field, f"{name}, {text}") for name, text in value.items())
        elif isinstance(value, list):
            yield from ((field, str(one)) for one in value)
        else:
            yield field, str(value)
