"""The proof: every finished artifact is opened and compared with the Tree before it may be called done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from buildonce import tree
from buildonce.builders import registry
from buildonce.errors import Problem, VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buildonce.model import Artifact, ArtifactKind, Contents, Entry, Tree, Version
    from buildonce.system.store import Store

__all__ = ["Expectation", "check", "expected"]

_MOST_LINES = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectation:
    """What an artifact of this release has to be."""

    name: str  # the release's: of its deb, its image, and its folder below /opt/venvs
    distribution: str  # of the project's own wheel
    version: str  # in the spelling of the artifact's format
    tree: Tree  # the target's; for the wheel, any target's; for an index of images, what it shows of them
    interpreter: str  # the target's Python


def expected(artifact: Artifact, tree_: Tree, distribution: str) -> tuple[Entry, ...]:
    """What *artifact* has to hold: its share of the Tree, and what its builder meant to add."""
    return tuple(sorted((*_share(artifact.kind, tree_, distribution), *artifact.extras)))


def _share(kind: ArtifactKind, tree_: Tree, distribution: str) -> tuple[Entry, ...]:
    match kind:
        case "sdist":
            return ()
        case "wheel":
            return tree_.of(distribution).carried_by_wheels().entries
        case "wheelhouse" | "pex":
            return tree_.carried_by_wheels().entries
        case "deb" | "oci" | "oci-index":
            return tree_.entries
        case _:
            assert_never(kind)


def spelled(artifact: Artifact, version: Version, deb: str) -> str:
    """*version* as the format of *artifact* spells it; *deb* is the target's Debian version."""
    return deb if artifact.kind == "deb" else version.pep440


def check(artifact: Artifact, expectation: Expectation, store: Store | None = None) -> None:
    """Read *artifact* back from its bytes and compare. *store* may hold listings of bytes that were read before.

    Raises :class:`VerificationError` that names every file that differs (the first twenty).
    """
    builder = registry.of(artifact.kind)
    contents = builder.read(
        artifact.path, artifact.kind, name=expectation.name, interpreter=expectation.interpreter, store=store
    )
    differences = (
        *_identity(artifact, contents, expectation),
        *tree.difference(expected(artifact, expectation.tree, expectation.distribution), contents.entries),
    )
    if differences:
        raise VerificationError.of(_problems(artifact, differences))


def _identity(artifact: Artifact, contents: Contents, expectation: Expectation) -> Iterable[str]:
    name = expectation.distribution if artifact.kind in ("wheel", "sdist") else expectation.name
    if contents.name != name:
        yield f"name differs: expected {name}, found {contents.name}"
    if contents.version != expectation.version:
        yield f"version differs: expected {expectation.version}, found {contents.version}"


def _problems(artifact: Artifact, differences: tuple[str, ...]) -> tuple[Problem, ...]:
    shown = [Problem(message=line, where=artifact.file) for line in differences[:_MOST_LINES]]
    if len(differences) > _MOST_LINES:
        shown.append(Problem(message=f"and {len(differences) - _MOST_LINES} more differences", where=artifact.file))
    headline = Problem(message=f"{artifact.file} does not hold what was built", where=artifact.kind)
    return (headline, *shown)
