"""``release verify``: from the signatures down to every file of every artifact, on any machine, without the sources."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from buildonce import proof
from buildonce.builders.oci import joined
from buildonce.errors import ReleaseError, VerificationError
from buildonce.signing import PublicKey, release, sums
from buildonce.signing.attestations import PLACE
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from buildonce.manifest import Manifest
    from buildonce.model import Artifact
    from buildonce.signing.release import Verified
    from buildonce.system import System

__all__ = ["require_digests", "signed", "trusted", "verify"]


def trusted(keys: Sequence[Path], home: Path, *, option: str = "--key") -> tuple[PublicKey, ...]:
    """The public keys in *keys*; with none given, those of this user in *home*. *option* is how they are given."""
    places = keys or sorted(home.glob("*.pub"))
    found = tuple(PublicKey.load(place) for place in places if not place.name.endswith(".ssh.pub"))
    if not found:
        raise ReleaseError(
            "no key is trusted here, so no signature means anything",
            where=str(home),
            hint=f"name the signer's public key with {option}",
        )
    return found


def verify(folder: Path, keys: Sequence[PublicKey], system: System, *, reproduced: int = 0) -> Verified:
    """Check everything in the release *folder*, and that so many of *keys* attest that they *reproduced* it.

    Raises :class:`buildonce.errors.VerificationError` naming the file that is not as it was signed or built.
    """
    if not (folder / sums.FILE).is_file():
        raise VerificationError(
            f"there is no release here: no {sums.FILE}",
            where=str(folder),
            hint="name the folder of a release, such as dist/NAME-VERSION",
        )
    system.progress.step("signatures and digests")
    verified = signed(folder, keys)
    _require_rebuilds(verified, reproduced)
    artifacts = [replace(artifact, path=folder / artifact.file) for artifact in verified.manifest.artifacts]
    system.progress.step(f"compare {len(artifacts)} artifacts with the Tree")
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(lambda artifact: _prove(artifact, verified.manifest, artifacts), artifacts))
    return verified


def signed(folder: Path, keys: Sequence[PublicKey], *, whole: bool = True) -> Verified:
    """The signatures and digests of the release *folder*; unless *whole*, of its documents alone."""
    try:
        return release.verify(folder, keys) if whole else release.documents(folder, keys)
    except VerificationError as error:
        first = error.problems[0]
        raise VerificationError(
            f"{first.where}: {first.message}" if first.where else first.message,
            where=str(folder),
            hint=first.hint or "do not install it: fetch the release again from where it was published",
        ) from error


def require_digests(folder: Path, documents: Verified) -> None:
    """Raise :class:`VerificationError` unless every artifact that is in *folder* has the bytes that were signed."""
    for name, expected in documents.files.items():
        place = folder / name
        if place.exists() and (found := files.sha256_file(place)) != expected:
            raise VerificationError(f"its sha256 is {found}, but {expected} was signed", where=str(place))


def _require_rebuilds(verified: Verified, wanted: int) -> None:
    """Raise unless *wanted* trusted keys, other than the releaser's, attest a rebuild."""
    found = verified.rebuilds
    if len(found.by) >= wanted:
        return
    who = f": {', '.join(one.name for one in found.by)}" if found.by else ""
    raise VerificationError(
        f"reproduced by {len(found.by)} trusted keys{who}, not by {wanted}",
        where=PLACE,
        hint="ask others for `release reproduce --sign`, and name their public keys with --key",
        more=found.refused,
    )


def _prove(artifact: Artifact, manifest: Manifest, artifacts: Sequence[Artifact]) -> None:
    built = manifest.built(artifact.target)
    trees = {built.target.name: built.tree for built in manifest.targets}
    proof.check(
        artifact,
        proof.Expectation(
            name=manifest.name,
            distribution=manifest.distribution,
            version=proof.spelled(artifact, manifest.version, manifest.version.deb(built.target)),
            tree=joined(artifact, artifacts, trees) if artifact.kind == "oci-index" else built.tree,
            interpreter=str(built.target.interpreter),
        ),
    )
