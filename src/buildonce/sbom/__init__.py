"""The bill of materials, ``sbom.cdx.json``: CycloneDX 1.6 in canonical JSON, the same bytes for the same
release.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buildonce.stage import Stage

__all__ = ["FILE", "make"]

FILE: Final = "sbom.cdx.json"


def make(stages: Sequence[Stage], *, tool_version: str = "") -> bytes:
    """The bill of materials of what *stages* (one a target, of one project) hold: wheels, and the OS packages
    that the image brings and the deb asks for. *tool_version* is ours.

    Raises :class:`buildonce.errors.VerificationError` when a wheel's metadata cannot be read.
    """
    from buildonce.sbom import document

    return document.write(stages, tool_version)
