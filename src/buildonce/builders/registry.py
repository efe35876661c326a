"""Which builder makes which artifact. The formats do not know each other; this is where they meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buildonce.builders.deb import DebBuilder
from buildonce.builders.oci import OciBuilder
from buildonce.builders.pex import PexBuilder
from buildonce.builders.wheel import WheelBuilder

if TYPE_CHECKING:
    from buildonce.builders.interface import Builder
    from buildonce.model import ArtifactKind, Format

__all__ = ["BUILDERS", "of"]

BUILDERS: Final[dict[Format, Builder]] = {
    "wheel": WheelBuilder(),
    "pex": PexBuilder(),
    "deb": DebBuilder(),
    "oci": OciBuilder(),
}


def of(kind: ArtifactKind) -> Builder:
    """The builder that makes and reads artifacts of *kind*."""
    return next(builder for builder in BUILDERS.values() if kind in builder.kinds)
