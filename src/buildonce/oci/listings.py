"""Keeps what was found in a layer under the digest of its bytes: the layers below the application seldom change."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from buildonce.model import Digest, Entry
from buildonce.oci.filesystem import Content

if TYPE_CHECKING:
    from collections.abc import Callable

    from buildonce.system.store import Store

__all__ = ["kept"]

_FORM: Final = 1  # to be raised with what read_layer accepts or finds


def kept(store: Store, sha256: Digest, read: Callable[[], Content], *, packed: bool, foreign: bool) -> Content:
    """The content of the layer whose bytes have the digest *sha256*: from *store*, or read now by *read* and kept.

    *packed* and *foreign* say how it is to be read, as for :func:`buildonce.oci.filesystem.read_layer`.
    """
    found = store.value("oci-listing", [_FORM, sha256, packed, foreign], lambda: dataclasses.asdict(read()))
    members = tuple((Entry(**entry), owner) for entry, owner in found.pop("members"))
    return Content(**found, members=members)
