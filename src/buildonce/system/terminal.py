"""The terminal of the person who runs this, joined with one that is elsewhere: a sandbox's, an engine's."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import struct
import sys
import termios
import tty
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Size", "join", "present", "read", "resize", "size"]

Size = tuple[int, int]  # rows, columns

_CHUNK: Final = 1 << 16
_LAYOUT: Final = "HHHH"  # struct winsize of tty_ioctl(4)


def present() -> bool:
    """Whether a person can type and read here."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def size() -> Size:
    """Of this terminal."""
    found = os.get_terminal_size(sys.stdout.fileno())
    return found.lines, found.columns


def resize(handle: int, wanted: Size) -> None:
    """Tell the terminal *handle* how large it is."""
    fcntl.ioctl(handle, termios.TIOCSWINSZ, struct.pack(_LAYOUT, *wanted, 0, 0))


def read(handle: int) -> bytes:
    """What is there to read of a pseudo-terminal; nothing when all its programs have ended."""
    try:
        return os.read(handle, _CHUNK)
    except OSError as error:
        if error.errno == errno.EIO:
            return b""
        raise


def join(
    channel: int,
    *,
    read: Callable[[], bytes],
    write: Callable[[bytes], None],
    resized: Callable[[Size], None],
) -> None:
    """Carry keys and output between this terminal and *channel*, a file descriptor to wait for, until that ends."""
    typed, shown = sys.stdin.fileno(), sys.stdout.fileno()
    with _raw(typed), _heeding_size(resized):
        open_ = [typed, channel]
        while True:
            ready, _, _ = select.select(open_, [], [])
            if channel in ready:
                data = read()
                if not data:
                    return
                os.write(shown, data)
            if typed in ready:
                keys = os.read(typed, _CHUNK)
                if keys:
                    write(keys)
                else:
                    open_.remove(typed)


@contextlib.contextmanager
def _raw(handle: int) -> Iterator[None]:
    """Every key goes through as it is, Ctrl-C too."""
    before = termios.tcgetattr(handle)
    tty.setraw(handle)
    try:
        yield
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _heeding_size(resized: Callable[[Size], None]) -> Iterator[None]:
    before = signal.signal(signal.SIGWINCH, lambda *_: resized(size()))
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
