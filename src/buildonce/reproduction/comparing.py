"""Compares a release with its rebuild, file by file, and says of each difference what it is."""

from __future__ import annotations

import shutil
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from buildonce import difference, manifest, provenance
from buildonce.model import Command
from buildonce.signing import attestations, sums
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from buildonce.difference import Difference
    from buildonce.model import Digest
    from buildonce.reproduction.published import Published
    from buildonce.system import System

__all__ = ["Compared", "compare", "keep"]

_DOCUMENTS: Final = (manifest.FILE, provenance.FILE, attestations.SBOM)
_DIFFOSCOPE_SECONDS: Final = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One file of the release and of its rebuild; a digest is "" where there is no such file."""

    file: str
    expected: Digest | str
    found: Digest | str
    difference: Difference | None = None  # None also when the published bytes are not to be had

    @property
    def same(self) -> bool:
        """Whether every byte is the same."""
        return self.expected == self.found


def compare(published: Published, rebuilt: Path, system: System) -> tuple[Compared, ...]:
    """Every file that ``SHA256SUMS`` of either lists, artifacts first."""
    expected = published.verified.files
    names = [path.name for path in rebuilt.iterdir() if path.is_file() and not path.name.startswith(sums.FILE)]
    found = sums.digests(rebuilt, names)
    system.progress.step(f"compare {len(expected)} files, bit for bit")
    every = sorted(expected.keys() | found.keys(), key=lambda name: (name in _DOCUMENTS, name))
    changed = [name for name in every if expected.get(name) != found.get(name)]
    # The documents have the digests of the artifacts in them, so that they follow.
    explained = [name for name in changed if name not in _DOCUMENTS] or changed
    return tuple(
        Compared(
            file=name,
            expected=expected.get(name, ""),
            found=found.get(name, ""),
            difference=_explain(name, published, rebuilt, system) if name in explained else None,
        )
        for name in every
    )


def _explain(name: str, published: Published, rebuilt: Path, system: System) -> Difference | None:
    place = published.artifact(name, system) if name in published.verified.files else None
    if place is None or not (rebuilt / name).is_file():
        return None
    return difference.compare(place, rebuilt / name, known={socket.gethostname(): "hostname"})


def keep(compared: Sequence[Compared], published: Published, rebuilt: Path, into: Path, system: System) -> Path:
    """Leave the rebuilt files that differ in the folder *into*, which becomes theirs alone; answers it.

    With what diffoscope says of them, when it is on this machine, and with the other side when that was fetched.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    with files.scratch(into.parent, into.name) as aside:
        new = aside / "new"
        (new / "rebuilt").mkdir(parents=True)
        for one in compared:
            if one.same or not one.found:
                continue
            shutil.move(rebuilt / one.file, new / "rebuilt" / one.file)
            place = published.folder / one.file
            if one.difference is None or not place.is_file():
                continue
            if published.url:
                files.copy_file(place, new / "published" / one.file)
            _diffoscope(place, new / "rebuilt" / one.file, new, system)
        files.replace_folder(new, into)
    return into


def _diffoscope(expected: Path, found: Path, into: Path, system: System) -> None:
    """Let diffoscope write its reports into the folder *into*. A program of its own, never a library: its license."""
    program = shutil.which("diffoscope")
    if program is None:
        return
    system.progress.step(f"diffoscope {found.name}")
    reports = (f"--json={into}/{found.name}.diffoscope.json", f"--html={into}/{found.name}.diffoscope.html")
    limits = ("--exclude-directory-metadata=yes", "--max-report-size=10485760", f"--timeout={_DIFFOSCOPE_SECONDS}")
    outcome = system.host.run(Command(argv=(program, *reports, *limits, str(expected), str(found))), check=False)
    if outcome.returncode not in (0, 1):
        system.progress.note(f"diffoscope ended with exit code {outcome.returncode}")
