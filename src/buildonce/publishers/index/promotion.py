"""From one index to another, by digest: pushed within a devpi server, carried between any others."""

from __future__ import annotations

import tempfile
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from buildonce.errors import VerificationError
from buildonce.publishers.index import contents
from buildonce.publishers.index.contents import Item
from buildonce.publishers.parcels import Parcel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buildonce.manifest import Manifest
    from buildonce.model import Digest
    from buildonce.protocols import Progress
    from buildonce.publishers.index.packages import PackageIndex

__all__ = ["promote"]


def promote(
    source: PackageIndex, target: PackageIndex, said: Manifest, digest: Digest, progress: Progress
) -> tuple[Parcel, ...]:
    """Bring the release *said*, which *source* has, to *target*; the same bytes, or nothing. Again is no change.

    *said* is the verified manifest, *digest* that of SHA256SUMS; :meth:`PackageIndex.documents` fetches both.
    Raises :class:`VerificationError` when *source* lacks one of the files, or either index has other bytes.
    """
    items = _items(source, target, said)
    if missing := source.missing(items, digest):
        raise VerificationError(f"{missing[0].filename} is not there", where=source.place)
    target.require_access()
    lacking = target.missing(items, digest)
    parcels = tuple(
        Parcel(name=one.filename, sha256=one.sha256, size=one.size, there=one not in lacking) for one in items
    )
    for place, group in groupby(items, key=lambda one: (one.project, one.version)):
        progress.step(f"promote {' '.join(place)} to {target.place}")
        _move(source, target, list(group), digest)
    target.compare(items, digest)
    return parcels


def _items(source: PackageIndex, target: PackageIndex, said: Manifest) -> tuple[Item, ...]:
    """Dependencies first, each version's files one after the other; the release's own, with its documents, last."""
    (*others,) = sorted((one for one in target.of(said) if one.archive), key=lambda one: (one.project, one.version))
    own = contents.own(said)
    name = f"{own[0].project}-{own[0].version}{contents.DOCUMENTS}"
    found = source.held(own[0].project, own[0].version).get(name) if target.devpi else None
    if found is None or found.sha256 is None:
        return (*others, *own)
    papers = Item(
        filename=name, project=own[0].project, version=own[0].version, sha256=found.sha256, size=0, kind="documents"
    )
    return (*others, papers, *own)


def _move(source: PackageIndex, target: PackageIndex, group: Sequence[Item], digest: Digest) -> None:
    """The files of one version: pushed when the version is as a whole not there and nothing else would come along."""
    lacking = target.missing(group, digest)
    first = group[0]
    if not lacking:
        return
    alike = source.held(first.project, first.version).keys() == {one.filename for one in group}
    untouched = not target.held(first.project, first.version)
    if source.devpi and target.devpi and source.devpi.root == target.devpi.root and alike and untouched:
        refused = source.devpi.push(first.project, first.version, target.devpi)
        if refused and target.missing(group, digest):
            raise refused
        return
    with tempfile.TemporaryDirectory() as aside:
        for one in lacking:
            target.upload(one, source.bring(one, Path(aside)), lambda _: None)
