"""What a wheel inside an artifact installs, kept under the digest of its bytes: most were read for an earlier build."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from buildonce.model import Entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import PurePosixPath

    from buildonce.model import Digest
    from buildonce.system.store import Store

__all__ = ["carried"]

_FORM: Final = 1  # to be raised with what buildonce.install.carried finds


def carried(
    store: Store | None, sha256: Digest, read: Callable[[], tuple[Entry, ...]], *, prefix: PurePosixPath, python: str
) -> tuple[Entry, ...]:
    """The entries that *read* finds in the wheel whose bytes have the digest *sha256*, or found before.

    *prefix* and *python* (such as ``3.11``) are where it is installed, as for :func:`buildonce.install.carried`.
    """
    if store is None:
        return read()
    made_from = [_FORM, sha256, str(prefix), python]
    found = store.value("carried", made_from, lambda: [dataclasses.asdict(entry) for entry in read()])
    return tuple(Entry(**entry) for entry in found)
