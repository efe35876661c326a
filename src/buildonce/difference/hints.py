"""What a cause means and the next step that mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buildonce.difference import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buildonce.difference.causes import Cause, Evidence

__all__ = ["of"]

_NEXT: Final[dict[Cause, str]] = {
    "timestamp": "the time of the build is in it: take it from SOURCE_DATE_EPOCH, or leave it out",
    "path": "the folder it was built in is in it: write relative paths; for compilers -ffile-prefix-map=FOLDER=.",
    "hostname": "the name of the machine is in it: leave it out",
    "user": "the user who built it is in it: leave the name out; archives take owner 0:0 without names",
    "umask": "the umask shows in file modes: set them to 0644 and 0755 instead of taking those on the disk",
    "order": "the same items in the order in which the disk, threads or a process met them: sort before writing",
    "locale": "the language of the machine shows: sort by bytes, format numbers and dates without locale, write UTF-8",
    "hash seed": "the items of a set or dict came in another order: write sorted(…), or fix PYTHONHASHSEED",
    "random id": "a random value is in it: derive it from the content (uuid5, a digest), or seed it with a constant",
    "digest": "the digest of something that differs: mend that; if it is of nothing, it is random",
    "address": "the address of an object is in it: its default repr was written; name the object instead",
    "machine": "a fact of this machine's processor or kernel is in it: do not ask for it while building",
    "compressor": "the content is the same, another archiver, compressor, version or level packed it: pin it",
    "damage": "one side cannot be read as what it is: fetch it again, then compare again",
    "unknown": "no known cause is recognised: `diffoscope EXPECTED FOUND` shows everything",
}
_MOST: Final = 4


def of(causes: Sequence[Evidence]) -> str:
    """One line for each cause: its name, what shows it, what to do."""
    return "\n".join(f"{cause}: {words.shown(shown, 300)}; {_NEXT[cause]}" if shown else f"{cause}: {_NEXT[cause]}"
                     for cause, shown in causes[:_MOST])  # fmt: skip
