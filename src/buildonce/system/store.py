"""The content-addressed store, shared by all projects of a user.

Verified on read: a corrupt entry is made again, never used.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from buildonce.errors import ReleaseError
from buildonce.system import canonical, files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from buildonce.model import Digest

__all__ = ["Store", "remove"]

_VALUE: Final = "value.json"


class Store:
    """Files by their sha256 (``files/ab/<sha256>/<name>``) and folders by the digest of all that they were made from.

    Safe for several processes at once: every entry is made aside and moved into place.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._held: dict[Path, int] = {}

    def make_sure_it_can_be_written(self) -> None:
        """Raise a :class:`ReleaseError` that says what to do when the store's place is read-only."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with files.scratch(self.root, "probe"):
                pass
        except OSError as error:
            raise ReleaseError(
                f"the store cannot be written: {error.strerror}",
                where=str(self.root),
                hint="set BUILDONCE_STORE to a folder that can be written",
            ) from error

    def place(self, sha256: str, filename: str) -> Path:
        """Where the file with these bytes and this name is, or would be."""
        return self.root / "files" / sha256[:2] / sha256 / filename

    def file(self, sha256: Digest, filename: str) -> Path | None:
        """The stored file, its bytes checked now, or None. A file that is not what its name says is removed."""
        path = self.place(sha256, filename)
        try:
            if files.sha256_file(path) == sha256:
                return path
        except FileNotFoundError:
            return None
        path.unlink(missing_ok=True)
        return None

    def add(self, source: Path, filename: str) -> Path:
        """Move the finished file *source* (on any file system) into the store; answers its place."""
        path = self.place(files.sha256_file(source), filename)
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.scratch(self.root, "add") as aside:
            moved = Path(shutil.move(source, aside / filename))
            moved.chmod(0o644)
            moved.replace(path)
        return path

    def fetched_only(self, root: Path) -> Store:
        """A store in the new folder *root* that has this one's files (by sha256, checked when read) and adds to them,
        and nothing that was made of them. The caller removes it.
        """
        (self.root / "files").mkdir(parents=True, exist_ok=True)
        root.mkdir()
        (root / "files").symlink_to(self.root / "files")
        return Store(root)

    def folder(
        self, kind: str, key: Digest, make: Callable[[Path], None], *, quick: bool = False, hold: bool = False
    ) -> Path:
        """The folder of *kind* made from *key*; *make* fills an empty one when it is missing or was changed.

        Every file's sha256 is checked against the listing taken when it was made; with *quick* (for roots of thousands
        of files) only of those whose times are others: the time of the last change of any kind, which nobody can set
        back, shows what was written, but also what was merely copied or linked. With *hold*, :meth:`remove` by another
        process leaves the entry alone while this one runs, and :meth:`last_held` tells when that was.
        """
        path = self.root / kind / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.with_name(f".{key}.lock")):
            if not _is_whole(path, quick=quick):
                self._make(path, make, quick=quick)
            if hold and path not in self._held:
                self._held[path] = os.open(_holder(path), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
                os.utime(self._held[path])
                fcntl.flock(self._held[path], fcntl.LOCK_SH)  # until this process ends
        return path

    def value(self, kind: str, made_from: object, make: Callable[[], object]) -> Any:
        """What *make* answers for *made_from*, asked once; both are values that JSON can hold."""
        key = files.sha256_bytes(canonical.dump(made_from))

        def write(into: Path) -> None:
            into.joinpath(_VALUE).write_text(json.dumps(make()))

        return json.loads((self.folder(kind, key, write) / _VALUE).read_bytes())

    def last_held(self, path: Path) -> float:
        """When the entry *path* was last held (epoch); when it was made, if never."""
        found = _holder(path)
        return (found if found.exists() else _listed(path)).stat().st_mtime

    def remove(self, path: Path) -> bool:
        """Remove the entry *path* and what is told of it; False, and nothing is done, when a process holds it."""
        with _alone(path.with_name(f".{path.name}.lock")), _holder(path).open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            for told in path.parent.glob(f"{path.name}.*"):
                told.unlink()
            remove(path)
            _holder(path).unlink()
        return True

    def _make(self, path: Path, make: Callable[[Path], None], *, quick: bool) -> None:
        _listed(path).unlink(missing_ok=True)
        remove(path)
        with files.scratch(path.parent, path.name[:12]) as aside:
            made = aside / "made"
            made.mkdir(mode=0o755)
            make(made)
            found = json.dumps(_listing(made, quick=quick)).encode()
            made.replace(path)
            files.write_atomically(_listed(path), found)


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process at a time makes an entry; who comes second finds it made."""
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _holder(path: Path) -> Path:
    return path.with_name(f".{path.name}.held")


def _listed(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _is_whole(path: Path, *, quick: bool) -> bool:
    try:
        expected = json.loads(_listed(path).read_bytes())
        if not path.is_dir():
            return False
        found = _listing(path, quick=quick, known={row[0]: row for row in expected})
        if found != expected and quick and [_lasting(row) for row in found] == [_lasting(row) for row in expected]:
            files.write_atomically(_listed(path), json.dumps(found).encode())  # next time it is quick again
            return True
    except (FileNotFoundError, ValueError, TypeError, LookupError):
        return False
    return bool(found == expected)


_Row = list[str | int]  # path, and of a file: mode, sha256 and, for quick checks, size, two times
_QUICK: Final = slice(3, 6)


def _lasting(row: _Row) -> _Row:
    """Without the time that changes when nothing in the file does."""
    return row[:5]


def _listing(root: Path, *, quick: bool, known: Mapping[str, _Row] | None = None) -> list[_Row]:
    """Every file and link below *root* with what must not change.

    One scan and one read a file: thousands are checked. With *quick*, no read of those that are as *known*.
    """
    prefix = len(str(root)) + 1
    row = partial(_quick_row, known=known or {}) if quick else _row
    return sorted((row(entry, entry.path[prefix:]) for entry in _leaves(str(root))), key=lambda row: str(row[0]))


def _leaves(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _leaves(entry.path)
            else:
                yield entry


def _row(entry: os.DirEntry[str], path: str) -> _Row:
    if entry.is_symlink():
        return [path, "link", os.readlink(entry.path)]  # noqa: PTH115 - ten thousand Path objects take as long as reading
    with open(entry.path, "rb", buffering=0) as stream:  # noqa: PTH123 - as above
        mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
        return [path, mode, hashlib.file_digest(stream, "sha256").hexdigest()]


def _quick_row(entry: os.DirEntry[str], path: str, *, known: Mapping[str, _Row]) -> _Row:
    if entry.is_symlink():
        return _row(entry, path)
    status = entry.stat(follow_symlinks=False)
    facts: _Row = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    before = known.get(path, [])
    if before[_QUICK] == facts and before[1] == stat.S_IMODE(status.st_mode):
        return before
    return [*_row(entry, path), *facts]


def remove(path: Path) -> None:
    """Remove a folder, if it is there, even when something inside has no write permission."""
    for folder, _, _ in os.walk(path):
        Path(folder).chmod(0o755)
    shutil.rmtree(path, ignore_errors=True)
