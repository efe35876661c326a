"""Lays wheels as from ``/`` at their final prefix, with pypa/installer; no trace of this machine stays.

Modes follow from the wheel alone, never from the umask: 0755 for scripts and for what the zip marks
executable, else 0644. Scripts begin ``#!<prefix>/bin/python``. ``INSTALLER`` says ``buildonce``; there is
neither REQUESTED nor direct_url.json. Formats: binary distribution format and recording installed projects
(packaging.python.org), ``pyvenv.cfg`` of PEP 405.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import io
import os
import posixpath
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, BinaryIO, Final, cast

from installer import install
from installer.destinations import WheelDestination
from installer.exceptions import InstallerError
from installer.records import RecordEntry
from installer.scripts import Script
from installer.sources import WheelSource
from installer.utils import canonicalize_name, fix_shebang

from buildonce.errors import BuildError, VerificationError
from buildonce.model import Digest, Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from installer.scripts import ScriptSection
    from installer.utils import Scheme

    from buildonce.model import EntryKind, Target

__all__ = ["carried", "environment", "lay", "record", "site_packages"]

_INSTALLER: Final = b"buildonce\n"
# What an installer writes. A wheel that ships one of them has been taken out of an installation.
_WRITTEN_BY_INSTALLERS: Final = ("INSTALLER", "REQUESTED", "direct_url.json")
_CHUNK: Final = 1 << 18
# What zipfile and installer raise for a wheel that is none; installer asserts that scripts name functions.
_UNREADABLE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    InstallerError,
    ValueError,
    KeyError,
    AssertionError,
    EOFError,
)


def site_packages(prefix: PurePosixPath | str, python_minor: str) -> PurePosixPath:
    """Where the environment at *prefix* has its modules."""
    return PurePosixPath(prefix) / "lib" / f"python{python_minor}" / "site-packages"


def lay(
    wheel: Path,
    *,
    prefix: PurePosixPath | str,
    interpreter: PurePosixPath | str = "",
    python_minor: str,
    into: Path,
    dist: str,
) -> tuple[Entry, ...]:
    """Lay *wheel* below the folder *into* as from ``/``, for the environment at *prefix*.

    Answers what it laid, sorted by path. Scripts start *interpreter*, by default the environment's own
    ``<prefix>/bin/python``. Raises :class:`BuildError` when a file is there already.
    """
    with wheel.open("rb") as stream, _opened(stream, wheel.name) as source:
        destination = _Destination(prefix, interpreter, python_minor, dist, into)
        install(source=source, destination=destination, additional_metadata={"INSTALLER": _INSTALLER})
    return tuple(sorted(destination.entries))


def carried(
    wheel: Path | IO[bytes],
    *,
    prefix: PurePosixPath | str,
    interpreter: PurePosixPath | str = "",
    python_minor: str,
) -> tuple[Entry, ...]:
    """What :func:`lay` would lay of the wheel's own (files and scripts), computed without writing anything.

    Equal to the Tree's ``carried_by_wheels()``. Raises :class:`VerificationError` when the wheel cannot be
    read.
    """
    if isinstance(wheel, Path):
        with wheel.open("rb") as stream:
            return carried(stream, prefix=prefix, interpreter=interpreter, python_minor=python_minor)
    with _opened(wheel, Path(str(getattr(wheel, "name", None) or "in an archive")).name) as source:
        destination = _Destination(prefix, interpreter, python_minor, canonicalize_name(source.distribution), None)
        install(source=source, destination=destination, additional_metadata={})
    return tuple(sorted(entry for entry in destination.entries if entry.kind != "record"))


def environment(*, prefix: PurePosixPath | str, target: Target, into: Path) -> tuple[Entry, ...]:
    """Make the environment below *into* as from ``/``: what makes ``<prefix>/bin/python`` find its modules.

    Answers its entries, sorted by path: ``pyvenv.cfg`` and three links. No activation scripts, no pip.
    """
    here = PurePosixPath(prefix).relative_to("/")
    interpreter = target.interpreter
    lines = (
        f"home = {interpreter.parent}",
        "include-system-site-packages = false",
        f"version = {target.python}",
    )
    entries = [_written(into, str(here / "pyvenv.cfg"), "".join(f"{line}\n" for line in lines).encode())]
    links = {"python": str(interpreter), "python3": "python", f"python{target.python_minor}": "python"}
    for name, link in links.items():
        path = into / here / "bin" / name
        _make_folders(path.parent)
        path.symlink_to(link)
        entries.append(Entry(path=str(here / "bin" / name), kind="link", mode=0o777, link=link))
    return tuple(sorted(entries))


def record(entries: Iterable[Entry], *, site: PurePosixPath, own: str) -> bytes:
    """The RECORD of a distribution: all of *entries* as seen from *site*, sorted; *own* is its own path.

    The hash of a RECORD cannot be in itself: its row has none.
    """
    start = str(site).lstrip("/")
    rows = {
        posixpath.relpath(entry.path, start): ("", "")
        if entry.path == own
        else (_record_hash(entry.sha256), str(entry.size))
        for entry in entries
    }
    rows[posixpath.relpath(own, start)] = ("", "")
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows((path, *rows[path]) for path in sorted(rows))
    return out.getvalue().encode()


def _record_hash(sha256: str) -> str:
    return f"sha256={base64.urlsafe_b64encode(bytes.fromhex(sha256)).decode().rstrip('=')}"


@contextlib.contextmanager
def _opened(stream: IO[bytes], name: str) -> Iterator[_Source]:
    """The wheel in *stream* as a source; what goes wrong while it is installed becomes an error of ours."""
    try:
        with zipfile.ZipFile(stream) as archive:
            yield _Source(archive, name)
    except FileExistsError as error:
        raise BuildError(
            f"the wheel {name} brings a file that is there already: {error.filename}",
            where=name,
            hint="keep only one of the distributions that own it in the lock",
        ) from error
    except _UNREADABLE as error:
        raise VerificationError(
            f"the wheel {name} cannot be read: {error}", where=name, hint="build or fetch it again"
        ) from error


class _Source(WheelSource):
    """A wheel for pypa/installer; named by its .dist-info, for inside an archive it has no file name."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._members = [info for info in archive.infolist() if not info.is_dir()]
        found = {info.filename.split("/", 1)[0] for info in self._members if ".dist-info/" in info.filename}
        folders = sorted(folder for folder in found if folder.endswith(".dist-info"))
        if len(folders) != 1:
            msg = f"{name} has {len(folders)} .dist-info folders instead of one"
            raise ValueError(msg)
        distribution, _, version = folders[0].removesuffix(".dist-info").rpartition("-")
        super().__init__(distribution, version)
        self._archive = archive

    @property
    def dist_info_filenames(self) -> list[str]:
        start = f"{self.dist_info_dir}/"
        return [info.filename.removeprefix(start) for info in self._members if info.filename.startswith(start)]

    def read_dist_info(self, filename: str) -> str:
        return self._archive.read(f"{self.dist_info_dir}/{filename}").decode()

    def get_contents(self) -> Iterator[tuple[tuple[str, str, str], BinaryIO, bool]]:
        """All but bytecode, which the target's Python makes, and what installers write."""
        left_out = {f"{self.dist_info_dir}/{name}" for name in _WRITTEN_BY_INSTALLERS}
        for info in self._members:
            if info.filename in left_out or "__pycache__" in info.filename.split("/")[:-1]:
                continue
            with self._archive.open(info) as stream:
                yield (
                    (info.filename, "", ""),
                    cast("BinaryIO", stream),
                    _is_executable(info),
                )


def _is_executable(info: zipfile.ZipInfo) -> bool:
    mode = info.external_attr >> 16
    return stat.S_ISREG(mode) and bool(mode & 0o111)


class _Destination(WheelDestination):
    """Collects entries; writes the files too when there is a place to write to."""

    def __init__(
        self,
        prefix: PurePosixPath | str,
        interpreter: PurePosixPath | str,
        python_minor: str,
        dist: str,
        into: Path | None,
    ) -> None:
        self.entries: list[Entry] = []
        self.dist = dist
        self.site = site_packages(prefix, python_minor)
        here = str(prefix).strip("/")
        site = str(self.site).lstrip("/")
        self._bases = {
            "purelib": site,
            "platlib": site,
            "scripts": f"{here}/bin",
            "data": here,
            "headers": f"{here}/include/site/python{python_minor}/{dist}",  # pip's place in an environment
        }
        self._interpreter = str(interpreter or f"/{here}/bin/python")
        self._into = into
        self._folders: set[str] = set()

    def write_script(self, name: str, module: str, attr: str, section: ScriptSection) -> RecordEntry:
        file, data = Script(name, module, attr, section).generate(self._interpreter, "posix")
        return self._put("scripts", file, io.BytesIO(data), mode=0o755, kind="script")

    def write_file(self, scheme: Scheme, path: object, stream: BinaryIO, is_executable: bool) -> RecordEntry:
        kind: EntryKind = "record" if self._is_written_by_installer(str(path)) else "file"
        if scheme != "scripts":
            return self._put(scheme, str(path), stream, mode=0o755 if is_executable else 0o644, kind=kind)
        with fix_shebang(stream, self._interpreter) as fixed:
            return self._put(scheme, str(path), fixed, mode=0o755, kind="script")

    def finalize_installation(
        self,
        scheme: Scheme,
        record_file_path: str,
        records: Iterable[tuple[Scheme, RecordEntry]],  # noqa: ARG002 - our entries hold the same, with final paths
    ) -> None:
        if self._into is None:
            return
        own = self._path(scheme, record_file_path)
        data = record(self.entries, site=self.site, own=own)
        self._put(scheme, record_file_path, io.BytesIO(data), mode=0o644, kind="record")

    @staticmethod
    def _is_written_by_installer(path: str) -> bool:
        return path.endswith(".dist-info/INSTALLER") and path.count("/") == 1

    def _path(self, scheme: str, path: str) -> str:
        """The place of *path* of *scheme*, relative to ``/``."""
        parts = path.split("/")
        if "" in parts or "." in parts or ".." in parts:
            msg = f"{path!r} leads out of its place"
            raise ValueError(msg)
        return f"{self._bases[scheme]}/{path}"

    def _put(self, scheme: str, path: str, stream: IO[bytes], *, mode: int, kind: EntryKind) -> RecordEntry:
        place = self._path(scheme, path)
        sha256, size = self._copied(stream, place, mode)
        self.entries.append(Entry(path=place, kind=kind, mode=mode, size=size, sha256=sha256, dist=self.dist))
        return RecordEntry(path, None, size)

    def _copied(self, stream: IO[bytes], place: str, mode: int) -> tuple[Digest, int]:
        state, size = hashlib.sha256(), 0
        if self._into is None:
            while piece := stream.read(_CHUNK):
                state.update(piece)
                size += len(piece)
            return Digest(state.hexdigest()), size
        folder = place.rpartition("/")[0]
        if folder not in self._folders:
            _make_folders(self._into / folder)
            self._folders.add(folder)
        with (self._into / place).open("xb") as out:
            while piece := stream.read(_CHUNK):
                state.update(piece)
                out.write(piece)
                size += len(piece)
            os.fchmod(out.fileno(), mode)
        return Digest(state.hexdigest()), size


def _written(into: Path, place: str, data: bytes) -> Entry:
    path = into / place
    _make_folders(path.parent)
    path.write_bytes(data)
    path.chmod(0o644)
    return Entry(path=place, size=len(data), sha256=Digest(hashlib.sha256(data).hexdigest()))


def _make_folders(folder: Path) -> None:
    """Make *folder* and its parents 0755 whatever the umask is."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
