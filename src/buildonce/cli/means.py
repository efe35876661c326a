"""What the commands that publish work with: this machine, the key that signs, and the keys to trust."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from buildonce.cli.keys import home, signer
from buildonce.cli.options import Common, system

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from buildonce.publishers import Means

__all__ = ["open_means"]


@contextlib.contextmanager
def open_means(options: Common, keys: Sequence[Path]) -> Iterator[Means]:
    """The means of the command's user; *keys* are trusted, or without any those of this user."""
    from buildonce import verification
    from buildonce.publishers import Means

    with system(options) as machine:
        yield Means(system=machine, key=signer(options.root, machine), trusted=verification.trusted(keys, home()))
