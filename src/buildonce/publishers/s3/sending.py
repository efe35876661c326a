"""The bodies of requests: files and parts of them, that tell how far they are and can be told to end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from buildonce.system.net import Interrupted

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator
    from typing import IO

__all__ = ["Body", "ending", "sending_begins"]


class _End(BaseException):
    """Ends a request from within. Any Exception would be taken for a broken connection, and the request made again."""


class Body:
    """*size* bytes of *file* from *start* on, as botocore reads them: more than once, at first to sign them.

    *came* hears how many bytes of the file were sent.
    """

    def __init__(
        self, file: IO[bytes], start: int, size: int, *, came: Callable[[int], None], stop: threading.Event
    ) -> None:
        self._file, self._start, self._size = file, start, size
        self._came, self._stop = came, stop
        self._at = 0
        self.sending = False

    def read(self, amount: int | None = None) -> bytes:
        """The next bytes."""
        if self._stop.is_set():
            raise _End from Interrupted()
        rest = self._size - self._at
        self._file.seek(self._start + self._at)
        data = self._file.read(rest if amount is None or amount < 0 else min(amount, rest))
        self._at += len(data)
        if self.sending:
            try:
                self._came(self._start + self._at)
            except Exception as error:
                raise _End from error
        return data

    def seek(self, to: int, whence: int = 0) -> int:
        """As that of a file."""
        self._at = to + (0, self._at, self._size)[whence]
        self.sending = False
        return self._at

    def tell(self) -> int:
        """As that of a file."""
        return self._at


def sending_begins(request: Any, **_: object) -> None:
    """What botocore calls when a request is signed and about to be sent (its event ``before-send``)."""
    if isinstance(request.body, Body):
        request.body.sending = True


@contextmanager
def ending() -> Iterator[None]:
    """Raise what ended a request from within."""
    try:
        yield
    except _End as end:
        raise (end.__cause__ or Interrupted()) from None
