"""Runs programs inside a build root in a Docker engine: for machines that cannot make a sandbox.

The root becomes an image of one layer, named by the root's key and known by the layer's digest: an image of
that name with other content is never used. Files are copied to the engine and back, so it may be anywhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
import uuid
from typing import TYPE_CHECKING, Final

from buildonce.buildroot import environment
from buildonce.errors import BuildError, TimeLimitError
from buildonce.model import Outcome
from buildonce.system import archive, container, engine, files, transcript

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buildonce.model import Command
    from buildonce.protocols import Host

__all__ = ["DockerRunner", "forget", "images", "tag"]

_LABEL: Final = "root"
_REPOSITORY: Final = "buildonce/root"

# A shell stays process 1 and waits for the program; it ends it, and all it started, when the connection to this
# machine is closed, of which its standard input tells.
_WATCHED: Final = (
    'umask 022; cd -- "$1" || exit; shift; unset OLDPWD; exec 3<&0 </dev/null; '
    '{ read -r _; kill -KILL -1; } <&3 >/dev/null 2>&1 3<&- & "$@" 3<&-; exit $?'
)
_INTERACTIVE: Final = 'umask 022; cd -- "$1" || exit; shift; unset OLDPWD; "$@"; exit $?'
_OVERWRITTEN: Final = ("hostname", "hosts", "resolv.conf")  # by the engine, with facts of its machine


def tag(key: str) -> str:
    """The name of a root's image."""
    return f"{_REPOSITORY}:{key}"


def images() -> tuple[engine.Image, ...]:
    """The images of build roots in the engine. Raises :class:`MissingToolError` when none answers."""
    return tuple(image for image in engine.images(_LABEL) if image.tag.startswith(f"{_REPOSITORY}:"))


class DockerRunner:
    """A :class:`buildonce.protocols.Runner` whose programs see *root* as ``/``, as in :class:`RootRunner`.

    A root with *passing* content, which is not finished yet, gets an image that :meth:`close` removes. Raises
    :class:`MissingToolError` when no engine answers.
    """

    def __init__(self, root: Path, host: Host, *, limit: float = environment.LIMIT, passing: bool = False) -> None:
        self.root, self.host, self._limit = root, host, limit
        self._tag = tag(f"passing-{uuid.uuid4()}" if passing else root.name)
        self._told = None if passing else _record(root)
        self._memory = min(environment.MOST_MEMORY, engine.memory() // 4)

    def run(self, command: Command, *, log: Path | None = None, check: bool = True) -> Outcome:
        """See :class:`buildonce.protocols.Runner`; ``cwd`` and the binds' targets are inside the root."""
        environment.check_binds(command)
        box = self._box(command, _WATCHED)
        data = bytearray()
        with transcript.opened(log, command.argv) as said:

            def output(is_stdout: bool, piece: bytes) -> None:
                if command.capture and is_stdout:
                    data.extend(piece)
                else:
                    said.stream.write(piece)

            limit = command.timeout or self._limit
            try:
                code = container.run(box, host=self.host, output=output, limit=limit, now=time.time())
            except TimeLimitError as error:
                told = TimeLimitError.of_program(command.argv[0], limit)
                told.log, told.log_path = said.tail(), str(log or "")
                raise told from error
            outcome = Outcome(returncode=code, stdout=bytes(data), tail=said.tail(), log=log)
        return environment.judge(command, outcome, self.root, log=log, check=check)

    def interact(self, command: Command) -> int:
        """Join this terminal with *command* until it ends; answers its exit code."""
        environment.check_binds(command)
        return container.interact(self._box(command, _INTERACTIVE), host=self.host, now=time.time())

    def ready(self) -> None:
        """Give the engine the root, if it does not have it: the first run does not have to."""
        self._image()

    def close(self) -> None:
        """Remove the image of a root in passing."""
        if self._told is None:
            engine.remove_image(self._tag)

    def _box(self, command: Command, script: str) -> container.Box:
        bound = {str(bind.target) for bind in command.binds}
        variables = (f"{name}={value}" for name, value in environment.variables(command).items())
        own = (container.Mount(source=self.root / "etc" / name, target=f"/etc/{name}") for name in _OVERWRITTEN)
        options = f"rw,exec,nosuid,nodev,mode=755,size={self._memory}"
        return container.Box(
            image=self._image(),
            # env, because engines add variables of their own
            argv=("/usr/bin/env", "-i", *variables, "/bin/sh", "-c", script, "sh", command.cwd, *command.argv),
            hostname=environment.HOSTNAME,
            mounts=(
                *own,
                *(
                    container.Mount(source=bind.source.resolve(), target=str(bind.target), writable=bind.writable)
                    for bind in command.binds
                ),
            ),
            memory={name: options for name in environment.MEMORY if name not in bound}
            | {"/sys": "ro,nosuid,nodev,noexec,mode=755,size=4k"},
        )

    def _image(self) -> str:
        """The id of the root's image, made when the engine does not have it."""
        with _alone(self.root):
            found = engine.layers(self._tag)
            told = self._told.read_text() if self._told and self._told.is_file() else ""
            if found and found[1] == (told,):
                return found[0]
            with tempfile.TemporaryFile() as packed:
                archive.pack(packed, {f"{p.name}": p for p in sorted(self.root.iterdir())}, mtime=archive.EPOCH)
                digest = f"sha256:{files.sha256_stream(packed)}"
                if not found or found[1] != (digest,):
                    packed.seek(0)
                    engine.add_image(self._tag, packed, label=_LABEL)
                    found = engine.layers(self._tag)
            if not found or found[1] != (digest,):
                raise BuildError("the Docker engine changed the build root that it was given", where=self._tag)
            with contextlib.suppress(PermissionError):  # in a store of somebody else
                if self._told:
                    files.write_atomically(self._told, digest.encode())
            return found[0]


def forget(root: Path) -> None:
    """The root is made anew: what its image has to be is not known any more."""
    _record(root).unlink(missing_ok=True)


def _record(root: Path) -> Path:
    return root.with_name(f"{root.name}.layer")


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One thread of one process at a time gives an engine the root."""
    handle = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
