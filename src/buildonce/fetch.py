"""Brings locked files into the store, from a vault or from upstream: in parallel, checked against the lock, resumable.

A file that is on its way is ``parts/<sha256>.part`` in the store. It stays there when the network is cut or
somebody presses Ctrl-C, and the next run goes on behind its last byte. Nothing has its final name unchecked.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import queue
import shutil
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from buildonce.errors import LockError, ReleaseError, VerificationError
from buildonce.system import files as local
from buildonce.system.net import Interrupted, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from buildonce.model import Digest, RemoteFile
    from buildonce.protocols import Progress, Vault
    from buildonce.system.net import Net
    from buildonce.system.store import Store

__all__ = ["MissingError", "fetch"]

_TICK = 0.1  # seconds between two looks at how far the downloads are
_GRACE = 1.0  # seconds for downloads to end in, when one has failed


class MissingError(ReleaseError):
    """Files that are neither in the store nor in a vault, while no upstream may be asked."""

    def __init__(self, missing: Sequence[RemoteFile], troubles: Sequence[str]) -> None:
        super().__init__(
            f"{_count(len(missing))} neither in the store nor in a vault",
            where="; ".join(troubles),
            hint="run it once without --offline, or name the vault that has them in BUILDONCE_VAULT",
        )
        self.missing = tuple(missing)
        self.troubles = tuple(troubles)  # what is wrong with vaults, a line each


def fetch(
    files: Iterable[RemoteFile],
    *,
    store: Store,
    net: Net,
    progress: Progress,
    vaults: Sequence[Vault] = (),
    offline: bool = False,
) -> dict[Digest, Path]:
    """Every file of *files*, verified, in the store; by its sha256.

    What the store has not comes from the first of *vaults* that has the right bytes, else from upstream; *offline*,
    no upstream is asked.

    Raises :class:`VerificationError` when bytes are not what the lock says, :class:`MissingError` with all files that
    cannot be had offline, :class:`ReleaseError` when the network is cut or the disk is full. What came until then is
    kept for the next run.
    """
    wanted = list({(file.sha256, file.filename): file for file in files}.values())
    store.make_sure_it_can_be_written()
    (store.root / "parts").mkdir(exist_ok=True)
    return _Batch(wanted, store, net, _Sources(vaults, offline=offline)).run(progress)


def _count(number: int) -> str:
    return "1 file is" if number == 1 else f"{number} files are"


class _Nowhere(Exception):  # noqa: N818 - an answer, not an error: all such are told at once
    """Offline, and neither the store nor a vault has the file."""


class _Sources:
    """The vaults of one batch, and what was found to be wrong with them. Used by several threads."""

    def __init__(self, vaults: Sequence[Vault], *, offline: bool) -> None:
        self.offline = offline
        self.troubles: list[str] = []
        self._vaults = list(vaults)
        self._guard = threading.Lock()

    @property
    def vaults(self) -> list[Vault]:
        """Those that are still of use."""
        return self._vaults.copy()

    def give_up(self, vault: Vault, error: ReleaseError) -> None:
        """*vault* as a whole cannot be used: it is not asked for the other files."""
        with self._guard:
            if vault in self._vaults:
                self._vaults.remove(vault)
                problem = error.problems[0]
                where = f" ({problem.where})" if problem.where and vault.name not in problem.where else ""
                self.troubles.append(f"the vault {vault.name} is not used: {problem.message}{where}")

    def refuse(self, vault: Vault, error: VerificationError) -> None:
        """One file of *vault* is not to be used."""
        with self._guard:
            self.troubles.append(f"the vault {vault.name} has another file: {error}; it is not used")


class _Batch:
    """One call of :func:`fetch`: a queue of files and threads that empty it."""

    def __init__(self, wanted: list[RemoteFile], store: Store, net: Net, sources: _Sources) -> None:
        self._wanted, self._store, self._net, self._sources = wanted, store, net, sources
        self._stop = threading.Event()
        self._came: dict[Digest, int] = {}
        self._waiting: queue.SimpleQueue[tuple[RemoteFile, Future[Path]]] = queue.SimpleQueue()

    def run(self, progress: Progress) -> dict[Digest, Path]:
        futures: dict[Future[Path], RemoteFile] = {Future(): file for file in self._wanted}
        for future, file in futures.items():
            self._waiting.put((file, future))
        # Daemons, because a server that has fallen silent must not keep Ctrl-C waiting.
        count = min(self._net.streams, len(futures))
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            self._watch(set(futures), progress)
            self._require_all(futures)
        finally:
            self._stop.set()
            end = time.monotonic() + _GRACE
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))
        return {file.sha256: future.result() for future, file in futures.items()}

    def _watch(self, pending: set[Future[Path]], progress: Progress) -> None:
        sizes = [file.size or 0 for file in self._wanted]
        count, total = len(sizes), sum(sizes) if all(sizes) else 0
        told = 0
        while pending:
            finished, pending = wait(pending, timeout=_TICK, return_when=FIRST_EXCEPTION)
            for future in finished:
                if not isinstance(future.exception(), _Nowhere):
                    future.result()
            told = self._tell(told, progress)
            if total:
                progress.advance("fetching", min(sum(self._came.copy().values()), total), total)
            else:
                progress.advance("fetching", count - len(pending), count)

    def _tell(self, told: int, progress: Progress) -> int:
        """Note the troubles beyond the first *told*; answers how many are told now."""
        troubles = self._sources.troubles[told:]
        for line in troubles:
            progress.note(line)
        return told + len(troubles)

    def _require_all(self, futures: dict[Future[Path], RemoteFile]) -> None:
        if missing := [file for future, file in futures.items() if future.exception()]:
            raise MissingError(missing, self._sources.troubles)

    def _work(self) -> None:
        with contextlib.suppress(queue.Empty):
            while not self._stop.is_set():
                file, future = self._waiting.get_nowait()
                try:
                    future.set_result(self._bring(file))
                except BaseException as error:  # noqa: BLE001 - raised again by who waits for the future
                    future.set_exception(error)

    def _bring(self, file: RemoteFile) -> Path:
        try:
            path = self._store.file(file.sha256, file.filename) or self._get(file)
            self._came[file.sha256] = path.stat().st_size
        except OSError as error:
            raise self._disk(error, file) from error
        return path

    def _get(self, file: RemoteFile) -> Path:
        part = self._store.root / "parts" / f"{file.sha256}.part"
        with self._alone(part):
            # Another process may have brought it while this one waited.
            if found := self._store.file(file.sha256, file.filename):
                return found
            if not any(self._brings(vault, file, part) for vault in self._sources.vaults):
                self._from_upstream(file, part)
            return self._store.add(part, file.filename)

    def _brings(self, vault: Vault, file: RemoteFile, part: Path) -> bool:
        """Whether *part* now has the right bytes, from *vault*."""
        try:
            return self._checked(part, file, lambda: vault.bring(file, part, came=self._counter(file), stop=self._stop))
        except VerificationError as error:
            self._sources.refuse(vault, error)
        except ReleaseError as error:
            self._sources.give_up(vault, error)
        return False

    def _from_upstream(self, file: RemoteFile, part: Path) -> None:
        source = file.path or _path_of(file.url)
        if source is not None and (source.is_file() or not self._sources.offline):
            _copy(source, part, file)
        elif self._sources.offline:
            raise _Nowhere
        elif not file.url:
            raise LockError(
                f"the lock does not say where {file.filename} is", hint="run `release lock` and commit the result"
            )
        else:
            self._checked(part, file, lambda: self._download(file, part))

    def _counter(self, file: RemoteFile) -> Callable[[int], None]:
        def came(count: int) -> None:
            self._came[file.sha256] = count

        return came

    def _download(self, file: RemoteFile, part: Path) -> bool:
        self._net.download(file.url, part, size=file.size, came=self._counter(file), stop=self._stop)
        return True

    def _checked(self, part: Path, file: RemoteFile, bring: Callable[[], bool]) -> bool:
        """Let *bring* fill the part and check it; once more, all of it, when its beginning was of an earlier run."""
        resumed = part.stat().st_size > 0
        if not bring():
            return False
        try:
            _check(part, file)
        except VerificationError:
            os.truncate(part, 0)
            if not resumed:
                raise
            return self._checked(part, file, bring)
        return True

    @contextlib.contextmanager
    def _alone(self, part: Path) -> Iterator[None]:
        """The part, there and this process's own. Waits for another process that is fetching it."""
        while True:
            with part.open("ab") as held:
                try:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if self._stop.wait(_TICK):
                        raise Interrupted from None
                    continue
                # Who held it before may have moved it into the store: then this is no longer the part.
                if not part.exists() or not part.samefile(f"/proc/self/fd/{held.fileno()}"):
                    continue
                try:
                    yield
                finally:
                    if part.exists() and part.stat().st_size == 0:
                        part.unlink()
                return

    def _disk(self, error: OSError, file: RemoteFile) -> ReleaseError:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            missing = sum(max(0, (f.size or 0) - self._came.get(f.sha256, 0)) for f in self._wanted)
            return ReleaseError(
                f"the disk is full: {missing or file.size or 'an unknown number of'} more bytes are needed",
                where=str(self._store.root),
                hint="free some space, or set BUILDONCE_STORE to a folder on another disk; then run it again",
            )
        place = error.filename or self._store.root
        return ReleaseError(f"{file.filename} cannot be stored: {error.strerror}", where=str(place))


def _path_of(url: str) -> Path | None:
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _copy(source: Path, part: Path, file: RemoteFile) -> None:
    if not source.is_file():
        raise LockError(
            f"{file.filename} is not where the lock says",
            where=str(source),
            hint="run `release lock` and commit the result",
        )
    with source.open("rb") as reading, part.open("r+b") as writing:
        writing.truncate()
        shutil.copyfileobj(reading, writing, 1 << 20)
    try:
        _check(part, file)
    except VerificationError:
        os.truncate(part, 0)
        raise


def _check(part: Path, file: RemoteFile) -> None:
    size, where = part.stat().st_size, shown(file.url) if file.url else str(file.path)
    hint = "if the change is known and wanted: release lock"
    if file.size is not None and size != file.size:
        message = f"{file.filename} has not the size in the lock: expected {file.size} bytes, got {size}"
        raise VerificationError(message, where=where, hint=hint)
    if (found := local.sha256_file(part)) != file.sha256:
        message = f"{file.filename} is not the file in the lock: expected sha256 {file.sha256}, got {found}"
        raise VerificationError(message, where=where, hint=hint)
