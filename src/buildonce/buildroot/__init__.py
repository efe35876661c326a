"""The build root: a target's userland, unpacked from locked packages, and the two ways to run programs in it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from buildonce.buildroot import database, docker, machines, writing
from buildonce.buildroot.docker import DockerRunner, images
from buildonce.buildroot.docker import tag as image
from buildonce.buildroot.environment import LIMIT, MOST_MEMORY, MOUNT_POINTS
from buildonce.buildroot.runner import RootRunner, check
from buildonce.buildroot.unpack import unpack
from buildonce.errors import MissingToolError, Problem, ReleaseError
from buildonce.model import Bind, Command, Digest
from buildonce.system import engine, files
from buildonce.system.run import HostRunner

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from buildonce.model import DebPin, RunnerName, Target
    from buildonce.protocols import Host, Progress, Runner
    from buildonce.system.store import Store

__all__ = [
    "LIMIT",
    "MOST_MEMORY",
    "DockerRunner",
    "RootRunner",
    "check",
    "choose",
    "engine_version",
    "ensure",
    "exists",
    "image",
    "images",
    "key",
    "runner",
]

# Part of every root's key: to be raised with any change to what this package writes into a root, or how it is listed.
_RECIPE: Final = 2

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def key(target: Target, pins: Sequence[DebPin]) -> Digest:
    """What a root is made from, as a digest: the packages' bytes, what the target adds, and this recipe."""
    made_from = {
        "recipe": _RECIPE,
        "packages": sorted((pin.name, pin.file.sha256) for pin in pins),
        "alternatives": sorted(target.alternatives),
        "interpreter": str(target.interpreter),
        "distribution": target.distribution,
        "architecture": target.architecture,
    }
    return Digest(hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest())


def ensure(
    target: Target,
    pins: Sequence[DebPin],
    paths: Sequence[Path],
    store: Store,
    *,
    progress: Progress,
    host: Host | None = None,
    way: RunnerName = "auto",
) -> Path:
    """The build root of *target*, made from the locked packages *pins* unless the store holds it already.

    *paths* are the packages' verified files, in the order of *pins*. The folder's name is its :func:`key`:
    the identity of all that is done in it, the same whichever *way* it is run. Raises :class:`MissingToolError`
    when this machine has no such way or cannot run the target's programs, :class:`ReleaseError` when the disk
    is full.
    """
    machine = host or HostRunner()
    known = exists(target, pins, store)

    def make(root: Path) -> None:
        if known:
            progress.note(f"the build root of {target.name} was changed since it was made: making it anew")
        docker.forget(store.root / "roots" / key(target, pins))
        root.chmod(0o755)
        packages = unpack(paths, root, progress)
        database.write(root, packages, target.architecture)
        _settle(root, target)
        _run_once(root, target, machine, chosen)

    if len(paths) != len(pins):
        msg = f"{len(pins)} packages are locked, {len(paths)} files were given"
        raise ValueError(msg)
    chosen = choose(way, machine)  # before the long work
    if chosen == "sandbox":
        machines.check(target)  # a Docker engine may be on another machine, or emulate by itself
    with _explained(store.root):
        return store.folder("roots", key(target, pins), make, quick=True, hold=True)


def exists(target: Target, pins: Sequence[DebPin], store: Store) -> bool:
    """Whether the store holds the root already, not looking into it."""
    place = store.root / "roots" / key(target, pins)
    return place.is_dir() and place.with_name(f"{place.name}.json").is_file()


def choose(way: RunnerName, host: Runner) -> RunnerName:
    """The way to run programs in a root here: *way*, or for ``"auto"`` the sandbox if there can be one.

    Raises :class:`MissingToolError` that says how to get it, for ``"auto"`` both.
    """
    if way == "docker":
        engine.version()
        return way
    try:
        check(host)
    except MissingToolError as no_sandbox:
        if way == "sandbox":
            raise
        try:
            engine.version()
        except MissingToolError as no_engine:
            raise _neither(no_sandbox, no_engine) from no_engine
        return "docker"
    return "sandbox"


def runner(way: RunnerName, root: Path, host: Host, *, limit: float = LIMIT) -> RootRunner | DockerRunner:
    """Runs programs in *root*, for at most *limit* seconds each; what they make does not depend on *way*.

    Raises :class:`MissingToolError` when this machine has no such way.
    """
    if choose(way, host) == "docker":
        return DockerRunner(root, host, limit=limit)
    return RootRunner(root, host, limit=limit)


def engine_version() -> str:
    """What Docker engine there is, and where. Raises :class:`MissingToolError` when none answers."""
    return engine.version()


def _neither(*reasons: MissingToolError) -> MissingToolError:
    ways = ("a sandbox (bubblewrap)", "a Docker engine")
    found = tuple(
        Problem(message=f"{way}: {reason}", where=reason.problems[0].where, hint=reason.problems[0].hint)
        for way, reason in zip(ways, reasons, strict=True)
    )
    headline = Problem(
        message="builds cannot be isolated on this machine: there is neither a sandbox nor a Docker engine",
        hint="one of them is enough",
    )
    return MissingToolError.of((headline, *found))


def _settle(root: Path, target: Target) -> None:
    """Write what maintainer scripts would have: accounts, names, links of update-alternatives."""
    for name in MOUNT_POINTS:
        writing.folder(root, name)
    texts = {
        "hostname": "build\n",
        "hosts": "127.0.0.1 localhost build\n::1 localhost\n",
        "machine-id": "",
        "resolv.conf": "",
        "passwd": _master(root, "base-passwd/passwd.master", "root:*:0:0:root:/root:/bin/bash\n"),
        "group": _master(root, "base-passwd/group.master", "root:*:0:\n"),
        "nsswitch.conf": _master(root, "base-files/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    }
    for name, text in texts.items():
        writing.text(root, f"etc/{name}", text)
    _link(root, "etc/dpkg/origins/default", target.distribution)  # dpkg-vendor: which hardening flags a build gets
    for path, link in target.alternatives:
        _link(root, path.lstrip("/"), link)


def _master(root: Path, name: str, otherwise: str) -> str:
    path = root / "usr/share" / name
    return path.read_text() if path.is_file() else otherwise


def _link(root: Path, path: str, link: str) -> None:
    """Make a link where nothing is, when what it leads to is there."""
    place = root / path
    goal = root / link.lstrip("/") if link.startswith("/") else place.parent / link
    if goal.exists() and not os.path.lexists(place):
        place.symlink_to(link)


def _run_once(root: Path, target: Target, host: Host, way: RunnerName) -> None:
    """What only the root's own programs can make: the linker's cache, and bytecode (0.2 s less a start)."""
    with contextlib.ExitStack() as stack:
        inside: Runner = RootRunner(root, host)
        if way == "docker":
            inside = stack.enter_context(contextlib.closing(DockerRunner(root, host, passing=True)))
        _cache_libraries(root, inside)
        library = f"/usr/lib/python{target.python_minor}"
        named = (library, "/usr/lib/python3/dist-packages", "/usr/share/python3")
        folders = [name for name in named if (root / name[1:]).is_dir()]
        if folders and (root / str(target.interpreter).lstrip("/")).exists():
            never = rf"^{library}/(idlelib|lib2to3|pydoc_data|test|tkinter|turtledemo)/"
            compileall = ("-m", "compileall", "-q", "-j0", "--invalidation-mode=unchecked-hash", "-x", never)
            binds = tuple(Bind(source=root / name[1:], target=PurePosixPath(name), writable=True) for name in folders)
            inside.run(Command(argv=(str(target.interpreter), *compileall, *folders), binds=binds), check=False)


def _cache_libraries(root: Path, inside: Runner) -> None:
    with files.scratch(root.parent, "ldconfig") as made:
        bind = Bind(source=made, target=PurePosixPath("/build"), writable=True)
        inside.run(Command(argv=("ldconfig", "-X", "-C", "/build/ld.so.cache"), binds=(bind,)))
        files.copy_file(made / "ld.so.cache", root / "etc/ld.so.cache", mode=0o644)
    shutil.rmtree(root / "var/cache/ldconfig", ignore_errors=True)  # would hold inode numbers


@contextlib.contextmanager
def _explained(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise ReleaseError(
            "the disk is full: a build root needs about 1 GB",
            where=str(place),
            hint="free some space, or set BUILDONCE_STORE to a folder on a larger disk",
        ) from error
