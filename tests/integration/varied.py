"""The variation matrix: builds of which every combination of two levels of :mod:`tests.integration.levels` is one."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import covertable

from buildonce.variation import Start
from tests.debs import users
from tests.integration import levels, rebuilding
from tests.integration.levels import FACTORS, ROOT, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ROWS", "Ended", "Place", "Stores", "far_from", "folder", "pairs", "prepared"]

_MEMORY: Final = Path("/dev/shm")
_PACKED: Final = ("carried", "oci-layer", "oci-listing")  # kinds of the store

# One row with everything against us; a cold store is made only where a pair needs it, because it takes longest.
_HOSTILE: Final = {
    "store": "cold", "file-order": "shuffled", "build-path": "long", "host": "other", "network": "none",
    "kernel": "2.6", "aslr": "off", "cpus": "one", "time": "later", "umask": "077", "environment": "hostile",
    "home": "full", "exec-path": "hostile", "hash-seed": "4242",
}  # fmt: skip
_SALT: Final = "0"  # of those tried, the one that needs the fewest rows and slow levels


@functools.cache
def _rows() -> tuple[Row, ...]:
    """Every pair of levels of any two factors is in one of them: a covering array of strength 2."""
    found = covertable.make(dict(FACTORS), strength=2, salt=_SALT, presets=[_HOSTILE])
    rows = [{name: str(row[name]) for name in FACTORS} for row in found]
    # Each user's first build fills the store that is warm later.
    return tuple(sorted(rows, key=lambda row: (FACTORS["user"].index(row["user"]), row["store"] != "cold")))


ROWS: Final = _rows()


def pairs(rows: tuple[Row, ...]) -> set[tuple[tuple[str, str], ...]]:
    """The pairs of levels that meet in one of *rows*."""
    return {pair for row in rows for pair in itertools.combinations(sorted(row.items()), 2)}


def far_from(row: Row) -> Row:
    """The row that has the fewest levels in common with *row*."""
    return min(ROWS, key=lambda other: sum(row[name] == other[name] for name in FACTORS))


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a program said that was started under a row."""

    code: int
    stdout: str
    stderr: str

    @property
    def data(self) -> Any:
        return json.loads(self.stdout)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and how the builds of one row are started."""

    row: Row
    start: Start
    python: str
    store: Path

    @property
    def root(self) -> Path:
        """The checkout."""
        return self.start.place / "checkout"

    def run(self, *arguments: str) -> Ended:
        """The tests' Python, or the user's, with *arguments*."""
        command = self.start.command(self.python, *arguments)
        done = subprocess.run(
            command.argv,
            cwd=self.root,
            env={**os.environ, **dict(command.environment)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Ended(code=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def build(self) -> Any:
        """What ``release build`` with the row's runner says of the release."""
        return self.release("build", "--runner", self.row["runner"])

    def release(self, *arguments: str) -> Any:
        """The parsed ``--json`` of ``release …``, which has to succeed."""
        ended = self.run("-m", "buildonce", *arguments, "--json")
        assert ended.code == 0, f"{self.row}\n{ended.stdout}{ended.stderr}"
        return ended.data


@dataclass
class Stores:
    """A store for every user, in *base*: filled by the first build, warm for those that follow."""

    base: Path
    of: dict[str, Path] = field(default_factory=dict)

    def empty(self, user: str, project: Path) -> Path:
        """A new one, of locked files only; the user's last one is given up."""
        if user in self.of:
            shutil.rmtree(self.of.pop(user))
        self.of[user] = rebuilding.seed(Path(tempfile.mkdtemp(dir=self.base)) / "store", project)
        _give(self.of[user].parent, user)
        return self.of[user]

    def warm(self, user: str, project: Path) -> Path:
        """What builds before have left, but for what was packed: every row packs for itself."""
        for kind in _PACKED:
            shutil.rmtree(self.of[user] / kind, ignore_errors=True)
        rebuilding.bring(self.of[user], project)
        _give(self.of[user] / "files", user)
        return self.of[user]


@contextlib.contextmanager
def prepared(row: Row, project: Path, stores: Stores) -> Iterator[Place]:
    """A checkout of *project*, a store and a way to start programs, as *row* says. Gone afterwards."""
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(folder(_MEMORY if row["file-order"] == "memory" else stores.base))
        user = row["user"]
        cold = row["store"] == "cold" or user not in stores.of
        store = stores.empty(user, project) if cold else stores.warm(user, project)
        start = _started(row, base)
        start.place.mkdir(parents=True, exist_ok=True)
        rebuilding.clone(project, start.place / "checkout")
        _give(base, user)
        if row["file-order"] == "shuffled":
            shuffled = stack.enter_context(_shuffled(base))
            start = replace(start, place=shuffled / start.place.relative_to(base))
            store = stack.enter_context(_shuffled(store))
        start = start.setting({"BUILDONCE_STORE": str(store), "LOCPATH": str(_locales(stores.base))})
        found = Place(row=row, start=start, python=_python(user), store=store)
        if cold and row["store"] == "warm":  # asked for alone, with `pytest -k`
            found.build()
            shutil.rmtree(found.root / "dist")
        yield found


def _started(row: Row, base: Path) -> Start:
    start = levels.applied(row, Start(place=base))
    # One that Python must not write into, or that only the caller may read.
    library = {} if row["user"] in ("root", "me") else {"PYTHONPATH": users.library()}
    return start.setting({"PYTHONDONTWRITEBYTECODE": "1", **library})


def _locales(base: Path) -> Path:
    """Real ones, made once: C.UTF-8 is often the only one of a machine."""
    into = base / "locales"
    if not into.exists():
        into.mkdir()
        for name in FACTORS["locale"]:
            subprocess.run(["localedef", "-i", name, "-f", "UTF-8", str(into / f"{name}.UTF-8")], check=True)
    return into


def _python(user: str) -> str:
    return users.interpreter(_number(user)) if user not in ("root", "me") else users.interpreter()


def _number(user: str) -> int:
    return {"nobody": 65534}.get(user) or int(user.partition(":")[0])


def _give(folder: Path, user: str) -> None:
    """Let *user* own everything below."""
    if user in ("root", "me"):
        return
    owner = "65534:65534" if user == "nobody" else user
    subprocess.run(["chown", "--recursive", "--no-dereference", owner, str(folder)], check=True)


@contextlib.contextmanager
def folder(below: Path) -> Iterator[Path]:
    """A new folder that every user can reach."""
    made = Path(tempfile.mkdtemp(prefix="buildonce-test-", dir=below))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)


@contextlib.contextmanager
def _shuffled(folder: Path) -> Iterator[Path]:
    """*folder* at another place, each listing of which is in another order."""
    mount = folder.with_name(f"{folder.name}-shuffled")
    mount.mkdir()
    everybody = ("--multi-user=yes",) if ROOT else ()
    subprocess.run(["disorderfs", "--quiet", *everybody, "--shuffle-dirents=yes", str(folder), str(mount)], check=True)
    try:
        yield mount
    finally:
        _unmount(mount)
        mount.rmdir()


def _unmount(mount: Path) -> None:
    """Even when a program that ends just now still has a file open."""
    for _ in range(50):
        if subprocess.run(["fusermount", "-u", "-q", str(mount)], check=False).returncode == 0:
            return
        time.sleep(0.2)
    subprocess.run(["fusermount", "-u", "-z", str(mount)], check=True)
