"""The Tree: every wheel installed once and byte-compiled once by the target's Python, at the final prefix.

Each wheel is planted on its own, so that its files, bytecode included, depend on nothing but itself, the
interpreter and the prefix; the result is kept in the store and a commit that changes one wheel plants one
wheel.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from buildonce import install
from buildonce.errors import BuildError, Problem
from buildonce.model import Bind, Command, Entry, Tree
from buildonce.system import files, share

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from buildonce.model import Digest, Target, Wheel
    from buildonce.protocols import Runner
    from buildonce.system.store import Store

__all__ = ["difference", "plant", "uncompiled"]

_LAYOUT: Final = 1  # part of every key: raise it when the same wheel is planted differently
_SCRIPTS: Final = PurePosixPath("/build/tree")
_MOST_SHOWN: Final = 20


def plant(
    wheels: Sequence[Wheel],
    *,
    target: Target,
    prefix: PurePosixPath | str,
    runner: Runner,
    store: Store,
    into: Path,
    root_key: str,
) -> Tree:
    """Install *wheels* into the environment at *prefix* below the new folder *into*, as from ``/``.

    *runner* is the target's build root and *root_key* names its content. Modules that do not compile are
    left as they are; :func:`uncompiled` lists them. Files below *into* are links into the store: builders
    see them read-only, and the store, which is checked whenever it is read, makes a changed one again.
    Raises :class:`BuildError` that names both owners when two wheels bring one file.
    """
    prefix = PurePosixPath(prefix)
    into.mkdir(parents=True, exist_ok=True)
    entries = list(install.environment(prefix=prefix, target=target, into=into))

    def planted(wheel: Wheel) -> tuple[Path, tuple[Entry, ...]]:
        key = _key(wheel, target, prefix, root_key)
        folder = store.folder("planted", key, lambda new: _plant_one(wheel, target, prefix, runner, new))
        return folder, _read(folder / "entries.json")

    # Big wheels first: the last process to end should be a short one.
    by_size = sorted(wheels, key=lambda wheel: (-wheel.size, wheel.name))
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        done = sorted(pool.map(planted, by_size), key=lambda found: str(found[0]))
        for _, found in done:
            entries += found
        _check_owners(entries)
        _make_folders(into, entries)
    for folder, found in done:
        _take(folder / "tree", into, found)
    return Tree(entries=tuple(sorted(entries)))


def uncompiled(tree: Tree) -> tuple[str, ...]:
    """The modules of *tree* without bytecode, because the target's Python cannot compile them, sorted."""
    there = {entry.path for entry in tree.entries if entry.kind == "bytecode"}
    sources = {_source_of(path) for path in there}
    return tuple(
        entry.path
        for entry in tree.entries
        if entry.path.endswith(".py") and "/site-packages/" in entry.path and entry.path not in sources
    )


def difference(expected: Iterable[Entry], found: Iterable[Entry]) -> tuple[str, ...]:
    """What tells *found* from *expected*: one line a file, sorted by path, naming the file and both sides.

    Paths, content, modes and links count; kinds (other than link) and owners cannot be seen in a file and
    do not.
    """
    expected, found = tuple(expected), tuple(found)
    meant, there = ({entry.path: entry for entry in side} for side in (expected, found))
    wanted, counted = (Counter(entry.path for entry in side) for side in (expected, found))
    lines = {path: f"unexpected: {path}" for path in there.keys() - meant.keys()}
    lines |= {path: f"missing: {path}" for path in meant.keys() - there.keys()}
    for path in meant.keys() & there.keys():
        if changes := tuple(_changes(meant[path], there[path])):
            lines[path] = "; ".join(changes)
    for path in meant.keys() & there.keys():
        if wanted[path] != counted[path]:  # archives can hold one name twice
            lines[path] = f"unexpected: {path} is there {counted[path]} times, expected {wanted[path]}"
    return tuple(lines[path] for path in sorted(lines))


def _changes(meant: Entry, there: Entry) -> Iterator[str]:
    path = meant.path
    if (meant.kind == "link") != (there.kind == "link") or meant.link != there.link:
        yield f"link differs: {path} (expected {_link(meant)}, found {_link(there)})"
        return
    if (meant.sha256, meant.size) != (there.sha256, there.size):
        yield (
            f"content differs: {path} (expected sha256 {meant.sha256}, {meant.size} bytes,"
            f" found {there.sha256}, {there.size} bytes)"
        )
    if meant.mode != there.mode and meant.kind != "link":
        yield f"mode differs: {path} {meant.mode:04o} → {there.mode:04o}"


def _link(entry: Entry) -> str:
    return f"a link to {entry.link}" if entry.kind == "link" else "a file"


def _key(wheel: Wheel, target: Target, prefix: PurePosixPath, root_key: str) -> Digest:
    facts = {
        "layout": _LAYOUT,
        "wheel": [wheel.filename, wheel.sha256],
        "interpreter": [str(target.interpreter), target.python],
        "root": root_key,
        "prefix": str(prefix),
        "compiler": files.sha256_file(share.path("builders", "tree", "compile.py")),
    }
    return files.sha256_bytes(json.dumps(facts, sort_keys=True).encode())


def _plant_one(wheel: Wheel, target: Target, prefix: PurePosixPath, runner: Runner, folder: Path) -> None:
    """Fill *folder*: ``tree/`` as from ``/``, and ``entries.json``, what is in it."""
    into = folder / "tree"
    laid = install.lay(wheel.path, prefix=prefix, python_minor=target.python_minor, into=into, dist=wheel.name)
    site = install.site_packages(prefix, target.python_minor)
    _byte_compile(into, site, prefix, target, runner)
    own = next(entry for entry in laid if entry.path.endswith(".dist-info/RECORD") and entry.kind == "record")
    others = [entry for entry in (*laid, *_bytecode(into, laid, target)) if entry.path != own.path]
    data = install.record(others, site=site, own=own.path)
    (into / own.path).write_bytes(data)
    entries = sorted((*others, dataclasses.replace(own, size=len(data), sha256=files.sha256_bytes(data))))
    (folder / "entries.json").write_text(json.dumps([dataclasses.asdict(entry) for entry in entries]), "utf-8")


def _byte_compile(into: Path, site: PurePosixPath, prefix: PurePosixPath, target: Target, runner: Runner) -> None:
    host = into.joinpath(*site.parts[1:])
    if next(host.rglob("*.py"), None) is None:
        return
    runner.run(
        Command(
            # -S -s: only the standard library; no -I, which would ignore PYTHONHASHSEED.
            argv=(str(target.interpreter), "-S", "-s", str(_SCRIPTS / "compile.py"), str(site)),
            environment=(("PYTHONHASHSEED", "0"),),
            binds=(
                Bind(source=into.joinpath(*prefix.parts[1:]), target=prefix, writable=True),
                Bind(source=share.path("builders", "tree"), target=_SCRIPTS),
            ),
        )
    )


def _bytecode(into: Path, laid: Iterable[Entry], target: Target) -> Iterator[Entry]:
    """What the interpreter made beside the modules of one wheel."""
    tag = f"cpython-{target.python_minor.replace('.', '')}"
    for entry in laid:
        if entry.path.endswith(".py"):
            source = PurePosixPath(entry.path)
            place = source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc"
            path = into / place
            if path.is_file():
                path.chmod(0o644)
                path.parent.chmod(0o755)
                yield Entry(
                    path=str(place),
                    kind="bytecode",
                    size=path.stat().st_size,
                    sha256=files.sha256_file(path),
                    dist=entry.dist,
                )


def _source_of(path: str) -> str:
    cache = PurePosixPath(path)
    return str(cache.parent.parent / f"{cache.name.rsplit('.', 2)[0]}.py")


def _read(listing: Path) -> tuple[Entry, ...]:
    rows: list[dict[str, Any]] = json.loads(listing.read_bytes())
    return tuple(Entry(**row) for row in rows)


def _check_owners(entries: Sequence[Entry]) -> None:
    """Raise for every file with two owners, and for a file where another wheel has a folder."""
    owners: dict[str, Entry] = {}
    problems = []
    for entry in entries:
        first = owners.setdefault(entry.path, entry)
        # Where bytecode clashes its source does, which says enough.
        if first is not entry and not entry.kind == first.kind == "bytecode":
            problems.append(_clash(entry.path, first, entry))
    for folder in sorted(_folders(entries) & owners.keys()):
        below = next(entry for entry in entries if entry.path.startswith(f"{folder}/"))
        problems.append(_clash(folder, owners[folder], below))
    if problems:
        raise BuildError.of(tuple(problems[:_MOST_SHOWN]))


def _clash(path: str, one: Entry, other: Entry) -> Problem:
    names = sorted(entry.dist or "the environment itself" for entry in (one, other))
    return Problem(
        message=f"{names[0]} and {names[1]} both own /{path}",
        where=f"/{path}",
        hint=f"keep only one of {names[0]} and {names[1]} in the lock, or versions that share no file",
    )


def _folders(entries: Iterable[Entry]) -> set[str]:
    """Every folder above any of *entries*."""
    folders: set[str] = set()
    for entry in entries:
        path = entry.path
        while (path := path.rpartition("/")[0]) and path not in folders:
            folders.add(path)
    return folders


def _make_folders(into: Path, entries: Iterable[Entry]) -> None:
    """Make every folder of *entries*, all 0755 whatever the umask is."""
    for folder in sorted(_folders(entries)):
        path = into / folder
        path.mkdir(exist_ok=True)
        path.chmod(0o755)


def _take(source: Path, into: Path, entries: Iterable[Entry]) -> None:
    """Show the files of *source* below *into* too: as hard links, or as copies on another file system."""
    from_, to = f"{source}/", f"{into}/"
    for entry in entries:
        try:
            os.link(from_ + entry.path, to + entry.path)
        except OSError:
            files.copy_file(source / entry.path, into / entry.path, mode=entry.mode)
