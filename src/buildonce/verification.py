"""``release verify``: from the signatures down to every file of every artifact, on any machine, without the sources."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from buildonce import proof
from buildonce.errors import ReleaseError
from buildonce.signing import PublicKey, release

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from buildonce.manifest import Manifest
    from buildonce.model import Artifact
    from buildonce.signing.release import Verified
    from buildonce.system import System

__all__ = ["trusted", "verify"]


def trusted(keys: Sequence[Path], home: Path) -> tuple[PublicKey, ...]:
    """The public keys in *keys*; with none given, those of this user in *home*."""
    places = keys or sorted(home.glob("*.pub"))
    found = tuple(PublicKey.load(place) for place in places if not place.name.endswith(".ssh.pub"))
    if not found:
        raise ReleaseError(
            "no key is trusted here, so no signature means anything",
            where=str(home),
            hint="name the signer's public key with --key",
        )
    return found


def verify(folder: Path, keys: Sequence[PublicKey], system: System) -> Verified:
    """Check everything in the release *folder*.

    Raises :class:`buildonce.errors.VerificationError` naming the file that is not as it was signed or built.
    """
    system.progress.step("signatures and digests")
    verified = release.verify(folder, keys)
    for artifact in verified.manifest.artifacts:
        system.progress.step(f"compare {artifact.file} with the Tree")
        _prove(replace(artifact, path=folder / artifact.file), verified.manifest)
    return verified


def _prove(artifact: Artifact, manifest: Manifest) -> None:
    built = manifest.built(artifact.target)
    proof.check(
        artifact,
        proof.Expectation(
            name=manifest.name,
            version=proof.spelled(artifact, manifest.version, manifest.version.deb(built.target)),
            tree=built.tree,
            interpreter=str(built.target.interpreter),
        ),
    )
