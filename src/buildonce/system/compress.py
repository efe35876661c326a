"""The one compressor: gzip whose bytes are the same on every machine, processor and number of threads.

libdeflate (package ``deflate``, pinned to one version) at level 6, as gzip members (RFC 1952) over pieces of
fixed size. The members are independent, so they are compressed in parallel and the memory needed does not
grow with the data. Every reader takes members in a row as one stream (RFC 1952, 2.2). Why this one:
``docs/decisions/0004-compressor.md``.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Final, Self

import deflate

if TYPE_CHECKING:
    from concurrent.futures import Future
    from types import TracebackType

__all__ = ["COMPRESSOR", "PIECE", "GzipWriter", "gzip"]

# Both decide bytes: another value is another artifact.
PIECE: Final = 1 << 20
_LEVEL: Final = 6

COMPRESSOR: Final = f"deflate 0.9.0 level {_LEVEL} pieces of {PIECE}"  # for manifests, and for keys of what is cached
_MOST_THREADS: Final = 4


def gzip(data: bytes | memoryview) -> bytes:
    """*data* as one gzip member: no name, no time, extra flags 0, operating system 255 (unknown)."""
    return bytes(deflate.gzip_compress(data, _LEVEL))


class GzipWriter:
    """A stream that compresses what is written to it into *out*, piece by piece; *out* stays open.

    To be used with ``with``: leaving it writes the end. The bytes do not depend on *threads* (default: one a
    processor, at most four) or on how the data is cut into writes.
    """

    def __init__(self, out: IO[bytes], *, threads: int | None = None) -> None:
        self._out = out
        self._threads = threads or min(_MOST_THREADS, len(os.sched_getaffinity(0)))
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="gzip")
        self._rest = bytearray()
        self._pending: deque[Future[bytes]] = deque()
        self._members = 0

    def write(self, data: bytes | memoryview) -> int:
        """Take *data*; answers its length."""
        self._rest += data
        whole = len(self._rest) - len(self._rest) % PIECE
        if whole:
            with memoryview(self._rest) as view:
                pieces = [bytes(view[start : start + PIECE]) for start in range(0, whole, PIECE)]
            del self._rest[:whole]
            for piece in pieces:
                self._submit(piece)
        return len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def _submit(self, piece: bytes) -> None:
        self._members += 1
        self._pending.append(self._pool.submit(gzip, piece))
        while len(self._pending) > 2 * self._threads:
            self._out.write(self._pending.popleft().result())

    def _finish(self) -> None:
        # No data at all is one empty member, as gzip(1) writes it: zero bytes would be no gzip file.
        if self._rest or not self._members:
            self._submit(bytes(self._rest))
            self._rest.clear()
        while self._pending:
            self._out.write(self._pending.popleft().result())
