"""Containers in the Docker engine that run one program, without network and without any capability.

The engine may be on another machine: nothing of this one is mounted. Files go there in a volume that lives as
long as one run, and come back from it, so that they belong to the caller here, whoever the engine is.
"""

from __future__ import annotations

import contextlib
import io
import socket as sockets
import tarfile
import tempfile
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from buildonce.errors import BuildError, TimeLimitError
from buildonce.system import archive, execution, files, terminal
from buildonce.system.engine import LABEL, connected, mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from buildonce.protocols import Host

__all__ = ["Box", "Mount", "interact", "run"]

_PLACE: Final = "/tmp"  # noqa: S108 - where the container that carries files has the volume; it never runs
_STREAMS: Final = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """A file or folder of this machine, copied to *target*; copied back when it is writable."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A container without network and without any capability, on a read-only image."""

    image: str
    argv: tuple[str, ...]
    hostname: str
    mounts: tuple[Mount, ...] = ()
    memory: Mapping[str, str] = field(default_factory=dict)  # folders in memory, with options of mount(8)


def run(box: Box, *, host: Host, output: Callable[[bool, bytes], None], limit: float | None, now: float) -> int:
    """Run a container to its end; *output* gets what it prints (is it stdout?, bytes). Answers its exit code.

    Nothing of it is left, whatever happens; when this process is killed, its programs end with it. Raises
    :class:`TimeLimitError` after *limit* seconds.
    """
    expired = threading.Event()
    with _attached(box, now, tty=False) as (client, made, channel):

        def end() -> None:
            with contextlib.suppress(OSError):
                channel.shutdown(sockets.SHUT_RDWR)

        def expire() -> None:
            expired.set()
            end()

        timer = threading.Timer(limit or threading.TIMEOUT_MAX, expire)
        timer.daemon = True
        try:
            with host.heeding(end):
                client.start(made)
                timer.start()
                with channel.makefile("rb") as stream:
                    for is_stdout, data in execution.frames(stream):
                        output(is_stdout, data)
        finally:
            timer.cancel()
        if expired.is_set():
            raise TimeLimitError.of_program(box.argv[0], limit or 0)
        return int(client.wait(made)["StatusCode"])


def interact(box: Box, *, host: Host, now: float) -> int:
    """Join this terminal with a container until it ends; answers its exit code."""
    with _attached(box, now, tty=True) as (client, made, channel):
        with host.heeding(lambda: channel.shutdown(sockets.SHUT_RDWR)):
            client.start(made)
            client.resize(made, *terminal.size())
            terminal.join(
                channel.fileno(),
                read=lambda: bytes(channel.recv(1 << 16)),
                write=channel.sendall,
                resized=lambda size: client.resize(made, *size),
            )
        return int(client.wait(made)["StatusCode"])


@contextlib.contextmanager
def _attached(box: Box, now: float, *, tty: bool) -> Iterator[tuple[Any, Any, Any]]:
    """A container that is not started yet, and the socket that its standard streams go through."""
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(connected())
        mounts = stack.enter_context(_carried(client, box, now))
        made = stack.enter_context(_created(client, box, mounts, now, tty=tty))
        joined = client.attach_socket(made, params=_STREAMS)
        channel = getattr(joined, "_sock", joined)
        stack.callback(channel.close)
        stack.callback(joined.close)
        if response := getattr(joined, "_response", None):  # which the docker package keeps open with it
            stack.callback(response.close)
        channel.settimeout(None)  # a compiler may be silent for long
        yield client, made, channel


@contextlib.contextmanager
def _carried(client: Any, box: Box, now: float) -> Iterator[list[Any]]:
    """The mounts of *box*, copied into a volume; what is writable comes back at the end when all went well.

    A container that never runs holds the volume, and the files go through it.
    """
    from docker.types import Mount as EngineMount

    label = {LABEL: mark(now)}
    volume = client.create_volume(labels=label)
    try:
        carrier = client.create_container(
            box.image,
            command=["true"],
            labels=label,
            host_config=client.create_host_config(
                network_mode="none", mounts=[EngineMount(_PLACE, volume["Name"], no_copy=True)]
            ),
            use_config_proxy=False,
        )
        try:
            with tempfile.TemporaryFile() as packed:
                archive.pack(packed, {str(number): mount.source for number, mount in enumerate(box.mounts)})
                packed.seek(0)
                client.put_archive(carrier, _PLACE, packed)
            # Not the volume itself, which could only be mounted as a whole, at one place, with one mode.
            inside = client.inspect_volume(volume["Name"])["Mountpoint"]
            yield [
                EngineMount(mount.target, f"{inside}/{number}", type="bind", read_only=not mount.writable)
                for number, mount in enumerate(box.mounts)
            ]
            for number, mount in enumerate(box.mounts):
                if mount.writable:
                    chunks, _ = client.get_archive(carrier, f"{_PLACE}/{number}", chunk_size=1 << 20)
                    _bring_back(chunks, mount.source)
        finally:
            client.remove_container(carrier, force=True)
    finally:
        client.remove_volume(volume["Name"], force=True)


@contextlib.contextmanager
def _created(client: Any, box: Box, mounts: Sequence[Any], now: float, *, tty: bool) -> Iterator[Any]:
    from docker.types import LogConfig

    made = client.create_container(
        box.image,
        entrypoint=list(box.argv[:1]),
        command=list(box.argv[1:]),
        hostname=box.hostname,
        user="0:0",
        stdin_open=True,  # closed when this process ends, however it does
        tty=tty,
        labels={LABEL: mark(now)},
        host_config=client.create_host_config(
            network_mode="none",
            read_only=True,
            mounts=mounts,
            tmpfs=dict(box.memory),
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            log_config=LogConfig(type="none"),
        ),
        use_config_proxy=False,  # else the proxies of this user's Docker configuration are in the environment
    )
    try:
        yield made
    finally:
        client.remove_container(made, force=True, v=True)


def _bring_back(chunks: Iterable[bytes], into: Path) -> None:
    """Replace what is at *into* by what the engine sends. A folder stays the same folder."""
    with files.scratch(into.parent, "back") as aside:
        try:
            archive.unpack(io.BufferedReader(_Chunks(chunks), 1 << 20), aside / "it")
        except (tarfile.TarError, FileExistsError) as error:
            raise BuildError(f"what a step made in the build root cannot be taken from it: {error}") from error
        new = aside / "it"
        if not new.is_dir():
            new.replace(into)
            return
        old = aside / "old"
        old.mkdir()
        for path in tuple(into.iterdir()):
            path.replace(old / path.name)
        for path in tuple(new.iterdir()):
            path.replace(into / path.name)


class _Chunks(io.RawIOBase):
    """A stream of the pieces that an iterator gives."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks, self._left = iter(chunks), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = next(self._chunks, b"")
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size
