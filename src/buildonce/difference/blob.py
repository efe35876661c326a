"""Bytes that can be read again and again, and the scratch file that unpacked ones go to."""

from __future__ import annotations

import hashlib
import io
import tempfile
from typing import IO, TYPE_CHECKING, Final, Self, cast

from buildonce.wheels.zips import MOST_BYTES, MOST_RATIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

__all__ = ["Blob", "Scratch", "TooLargeError"]

CHUNK: Final = 1 << 18
_RATIO_FLOOR: Final = 64 << 20  # below this many unpacked bytes nobody is harmed
_LONGEST_READ: Final = 64 << 20  # of a reader that asks for all at once, such as a tar header that claims gigabytes


class TooLargeError(ValueError):
    """It unpacks to more than any artifact has; it is compared packed."""


class Blob:
    """A window of a file: *size* bytes from *start*. Cheap to make; the file stays open with whoever opened it."""

    __slots__ = ("_file", "_start", "size")

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file, self._start, self.size = file, start, size

    @classmethod
    def of(cls, file: IO[bytes]) -> Self:
        """All of *file*, which has to be seekable."""
        return cls(file, 0, file.seek(0, io.SEEK_END))

    def read(self, offset: int = 0, count: int | None = None) -> bytes:
        """At most *count* bytes from *offset*; fewer only at the end."""
        left = max(0, self.size - offset)
        self._file.seek(self._start + offset)
        return self._file.read(left if count is None else min(count, left))

    def chunks(self) -> Iterator[bytes]:
        """All bytes in pieces."""
        at = 0
        while piece := self.read(at, CHUNK):
            yield piece
            at += len(piece)

    def window(self, offset: int, size: int) -> Blob:
        """A part. Raises :class:`EOFError` when the file ends before it does."""
        if offset < 0 or size < 0 or offset + size > self.size:
            raise EOFError("it is cut short")
        return Blob(self._file, self._start + offset, size)

    def stream(self) -> IO[bytes]:
        """A file object over it, with a position of its own."""
        return cast("IO[bytes]", _Stream(self))

    def same(self, other: Blob) -> bool:
        """Whether both have the same bytes."""
        return self.size == other.size and self.first_difference(other) is None

    def first_difference(self, other: Blob) -> int | None:
        """The offset of the first byte that differs or is only in one; None when there is none."""
        at = 0
        for one, two in zip(self.chunks(), other.chunks(), strict=False):
            if one != two:
                short = min(len(one), len(two))
                return at + next((i for i in range(short) if one[i] != two[i]), short)
            at += len(one)
        return None if self.size == other.size else at

    def digest(self, name: str) -> bytes:
        """Its digest by the algorithm *name*."""
        found = hashlib.new(name, usedforsecurity=False)
        for piece in self.chunks():
            found.update(piece)
        return found.digest()


class _Stream(io.BufferedIOBase):
    """What tarfile and zipfile read from."""

    def __init__(self, blob: Blob) -> None:
        self._blob, self._at = blob, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._blob.size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the beginning")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._blob.size - self._at if size is None or size < 0 else size
        if min(wanted, self._blob.size - self._at) > _LONGEST_READ:
            raise TooLargeError("a header claims more than any has")
        data = self._blob.read(self._at, wanted)
        self._at += len(data)
        return data


class Scratch:
    """A nameless file for everything that is unpacked; it is gone when closed. What it takes is bounded."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="buildonce-difference-")  # noqa: SIM115 - closed on exit
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def keep(self, chunks: Iterable[bytes], packed: int) -> Blob:
        """Write *chunks*, which *packed* bytes unpack to. Raises :class:`TooLargeError`."""
        start = at = self._end
        for piece in chunks:
            at += len(piece)
            if at > MOST_BYTES or at - start > max(_RATIO_FLOOR, MOST_RATIO * packed):
                raise TooLargeError(f"{packed} bytes unpack to more than {at - start - len(piece)}")
            self._file.seek(at - len(piece))
            self._file.write(piece)
        self._end = at
        return Blob(self._file, start, at - start)
