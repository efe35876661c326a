"""Brings locked files into the store: in parallel, checked against the lock, and resumable.

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
    from collections.abc import Iterable, Iterator

    from buildonce.model import Digest, RemoteFile
    from buildonce.protocols import Progress
    from buildonce.system.net import Net
    from buildonce.system.store import Store

__all__ = ["fetch"]

_TICK = 0.1  # seconds between two looks at how far the downloads are
_GRACE = 1.0  # seconds for downloads to end in, when one has failed


def fetch(files: Iterable[RemoteFile], *, store: Store, net: Net, progress: Progress) -> dict[Digest, Path]:
    """Every file of *files*, verified, in the store; by its sha256.

    Raises :class:`VerificationError` when bytes are not what the lock says, :class:`ReleaseError` when the
    network is cut or the disk is full. What came until then is kept for the next run.
    """
    wanted = list({(file.sha256, file.filename): file for file in files}.values())
    store.make_sure_it_can_be_written()
    (store.root / "parts").mkdir(exist_ok=True)
    return _Batch(wanted, store, net).run(progress)


class _Batch:
    """One call of :func:`fetch`: a queue of files and threads that empty it."""

    def __init__(self, wanted: list[RemoteFile], store: Store, net: Net) -> None:
        self._wanted, self._store, self._net = wanted, store, net
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
        finally:
            self._stop.set()
            end = time.monotonic() + _GRACE
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))
        return {file.sha256: future.result() for future, file in futures.items()}

    def _watch(self, pending: set[Future[Path]], progress: Progress) -> None:
        sizes = [file.size or 0 for file in self._wanted]
        count, total = len(sizes), sum(sizes) if all(sizes) else 0
        while pending:
            finished, pending = wait(pending, timeout=_TICK, return_when=FIRST_EXCEPTION)
            for future in finished:
                future.result()
            if total:
                progress.advance("fetching", min(sum(self._came.copy().values()), total), total)
            else:
                progress.advance("fetching", count - len(pending), count)

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
        source = file.path or _path_of(file.url)
        if source is None and not file.url:
            raise LockError(
                f"the lock does not say where {file.filename} is", hint="run `release lock` and commit the result"
            )
        part = self._store.root / "parts" / f"{file.sha256}.part"
        with self._alone(part):
            # Another process may have brought it while this one waited.
            if found := self._store.file(file.sha256, file.filename):
                return found
            if source is None:
                self._download(file, part)
            else:
                _copy(source, part, file)
            return self._store.add(part, file.filename)

    def _download(self, file: RemoteFile, part: Path) -> None:
        def came(count: int) -> None:
            self._came[file.sha256] = count

        resumed = part.stat().st_size > 0
        self._net.download(file.url, part, size=file.size, came=came, stop=self._stop)
        try:
            _check(part, file)
        except VerificationError:
            os.truncate(part, 0)
            if not resumed:
                raise
            # Its beginning is of an earlier run, perhaps from another server: once more, all of it.
            self._download(file, part)

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
