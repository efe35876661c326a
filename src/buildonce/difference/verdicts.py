"""How much a differing member matters, by what it is."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, Literal

from buildonce.difference.images import CONFIG, MANIFEST

if TYPE_CHECKING:
    from buildonce.difference.blob import Blob

__all__ = ["SEVERITY", "Verdict", "of"]

Verdict = Literal["container-only", "metadata-only", "bytecode-only", "content"]

SEVERITY: Final[dict[Verdict, int]] = {"container-only": 0, "metadata-only": 1, "bytecode-only": 2, "content": 3}

# What is said about the files, and runs nowhere. entry_points.txt and maintainer scripts are not of them.
_METADATA: Final = re.compile(
    r"""(?: .*\.(?:dist|egg)-info/(?: RECORD(?:\.jws|\.p7s)? | WHEEL | METADATA | PKG-INFO | INSTALLER | REQUESTED
                                    | SOURCES\.txt | direct_url\.json | sboms/.* )
          | [^/]+/PKG-INFO | PKG-INFO                                            # of an sdist
          | PEX-INFO | .*/PEX-INFO
          | (?:.*!/)?control\.tar[^!]*!/(?: control | md5sums | conffiles | shlibs | symbols | triggers | changelog )
          | .*usr/share/doc/[^/]+/(?: changelog.* | copyright | buildinfo.* )
          | index\.json | manifest\.json | oci-layout | (?:.*:\ )?(?: image\ index | image\ manifest )
          | (?:pylock\.toml | requirements\.txt | wheelhouse\.json | README\.txt)  # of a wheelhouse
          | release\.json | sbom\.cdx\.json | provenance\.json | SHA256SUMS | .*\.buildinfo | .*\.changes
          | .*usr/share/sbom/[^/]+\.json
        )""",
    re.VERBOSE | re.DOTALL,
)
_LARGEST: Final = 8 << 20


def of(path: str, expected: Blob | None = None, found: Blob | None = None) -> Verdict:
    """The verdict on a difference in the member *path*, a path with ``!/`` for each archive around it."""
    last = path.rpartition("!/")[2]
    if path.endswith((".pyc", ".pyo")):
        return "bytecode-only"
    if last.rpartition(": ")[2] == CONFIG:
        return "metadata-only" if _same_container(expected, found) else "content"
    if last.rpartition(": ")[2] == MANIFEST:
        return "metadata-only"
    return "metadata-only" if _METADATA.fullmatch(path) or _METADATA.fullmatch(last) else "content"


def _same_container(expected: Blob | None, found: Blob | None) -> bool:
    """Whether two image configurations start the same program the same way; history, labels and times may differ."""
    if expected is None or found is None or max(expected.size, found.size) > _LARGEST:
        return False
    said = []
    for blob in (expected, found):
        try:
            value = json.loads(blob.read())
            container = {key: each for key, each in value.get("config", {}).items() if key != "Labels"}
            said.append([container, value.get("architecture"), value.get("os"), value.get("variant")])
        except (ValueError, AttributeError, RecursionError):
            return False
    return said[0] == said[1]
