"""The in-toto Statement v1: which files (by sha256) something is said about, and what. Everything we sign is
one.

Source: in-toto/attestation, ``spec/v1/statement.md``. Written as canonical JSON, so that a statement's bytes
are its identity.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from buildonce.model import Digest
from buildonce.system import canonical
from buildonce.system.canonical import Fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from buildonce.model import Artifact

__all__ = [
    "CYCLONEDX",
    "PROMOTION",
    "PROVENANCE",
    "RELEASE",
    "SUMMARY",
    "Statement",
    "digest",
    "file_name",
    "is_digest",
    "is_file_name",
    "make",
    "read",
    "subjects",
]

TYPE: Final = "https://in-toto.io/Statement/v1"
RELEASE: Final = "https://in-toto.io/attestation/release/v0.1"
PROVENANCE: Final = "https://slsa.dev/provenance/v1"
SUMMARY: Final = "https://slsa.dev/verification_summary/v1"
CYCLONEDX: Final = "https://cyclonedx.org/bom"
PROMOTION: Final = "urn:buildonce:predicate:promotion:v1"

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~!=@-]{0,250}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """A parsed statement. ``predicate`` is still to be read."""

    predicate_type: str
    subjects: Mapping[str, Digest]  # file name → sha256
    predicate: Fields


def subjects(artifacts: Iterable[Artifact]) -> dict[str, Digest]:
    """The artifacts as subjects."""
    return {artifact.file: artifact.sha256 for artifact in artifacts}


def make(predicate_type: str, about: Mapping[str, Digest], predicate: Mapping[str, object]) -> bytes:
    """The statement that *predicate* holds for the files *about* (name → sha256)."""
    return canonical.dump(
        {
            "_type": TYPE,
            "predicateType": predicate_type,
            "subject": [{"name": name, "digest": {"sha256": about[name]}} for name in sorted(about)],
            "predicate": dict(predicate),
        }
    )


def read(data: bytes, *, where: str, predicate_type: str) -> Statement:
    """The statement in *data*, which has to be of *predicate_type* and in canonical JSON.

    Raises :class:`VerificationError` that names the file *where* and the place in it.
    """
    fields = Fields.of(canonical.load_canonical(data, where=where), where)
    fields.only("_type", "predicateType", "predicate", "subject").one_of("_type", TYPE)
    fields.one_of("predicateType", predicate_type)
    return Statement(predicate_type=predicate_type, subjects=_subjects(fields), predicate=fields.fields("predicate"))


def _subjects(fields: Fields) -> dict[str, Digest]:
    found: dict[str, Digest] = {}
    for subject in fields.objects("subject"):
        subject.only("name", "digest")
        name = file_name(subject, "name")
        if name in found:
            raise subject.wrong("name", f"is there twice: {name}")
        found[name] = digest(subject.fields("digest").only("sha256"), "sha256")
    if not found:
        raise fields.wrong("subject", "is empty")
    return found


def digest(fields: Fields, key: str) -> Digest:
    """A sha256 in lower-case hexadecimal."""
    found = fields.text(key)
    if not is_digest(found):
        raise fields.wrong(key, "is not a sha256 in lower-case hexadecimal")
    return Digest(found)


def file_name(fields: Fields, key: str) -> str:
    """A plain file name: no folder, nothing that a shell, a terminal or ``sha256sum`` reads as more than a
    name.
    """
    found = fields.text(key)
    if not is_file_name(found):
        raise fields.wrong(key, f"is not a plain file name: {found[:80]!r}")
    return found


def is_file_name(text: str) -> bool:
    """Whether *text* can name a file of a release."""
    return _FILE_NAME.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Whether *text* is a sha256 in lower-case hexadecimal."""
    return _DIGEST.fullmatch(text) is not None
