"""The variation matrix: how a build is started under every combination of two of anything that must not matter.

A factor has two or three levels, each as far as can be from the others and from the usual. What `release reproduce
--vary` does comes from :mod:`buildonce.variation`; here are further levels, real users and real file systems, for
which the tests need root. Who is not root varies the rest.
"""

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

from buildonce import variation
from buildonce.variation import Start
from tests.debs import users
from tests.integration import rebuilding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["FACTORS", "ROWS", "Ended", "Place", "Row", "Stores", "far_from", "folder", "pairs", "prepared"]

ROOT: Final = os.geteuid() == 0
Row = dict[str, str]  # of every factor, its level

# The folders that a build reads and writes: how they are listed, and what they lie on.
_FOLDERS: Final = ("disk", "memory", "shuffled")
_MEMORY: Final = Path("/dev/shm")
# The docker runner becomes a level here as soon as `release build` has the option.
_RUNNERS: Final = ("sandbox",)

FACTORS: Final[Mapping[str, tuple[str, ...]]] = {
    "store": ("warm", "cold"),
    "runner": _RUNNERS,
    "user": ("root", "nobody", "1111:2222") if ROOT else ("me",),
    "file-order": _FOLDERS,
    "build-path": ("short", "long"),
    "host": ("usual", "other"),
    "network": ("usual", "none"),
    "kernel": ("usual", "2.6"),
    "aslr": ("on", "off"),
    "cpus": ("all", "one"),
    "priority": ("usual", "lowest"),
    "limits": ("usual", "low"),
    "time": ("now", "later"),
    "umask": ("000", "077"),
    "environment": ("usual", "hostile"),
    "home": ("empty", "full"),
    "locale": ("tr_TR", "et_EE"),
    "time-zone": ("GMT+12", "GMT-14"),
    "exec-path": ("usual", "hostile"),
    "shell": ("bash", "none"),
    "hash-seed": ("0", "4242"),
}

# One row with everything against us; a cold store is made only where a pair needs it, because it takes longest.
_HOSTILE: Final = {
    "store": "cold", "file-order": "shuffled", "build-path": "long", "host": "other", "network": "none",
    "kernel": "2.6", "aslr": "off", "cpus": "one", "time": "later", "umask": "077", "environment": "hostile",
    "home": "full", "exec-path": "hostile", "hash-seed": "4242",
}  # fmt: skip
_SALT: Final = "17"  # of those tried, the one that needs the fewest rows and slow levels


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


@contextlib.contextmanager
def prepared(row: Row, project: Path, stores: Stores) -> Iterator[Place]:
    """A checkout of *project*, a store and a way to start programs, as *row* says. Gone afterwards."""
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(folder(_MEMORY if row["file-order"] == "memory" else stores.base))
        user = row["user"]
        cold = row["store"] == "cold" or user not in stores.of
        store = stores.empty(user, project) if cold else stores.of[user]
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
            found.release("build")
            shutil.rmtree(found.root / "dist")
        yield found


def _started(row: Row, base: Path) -> Start:
    start = Start(place=base)
    for name, level in row.items():
        change = _CHANGES.get((name, level))
        if change:
            start = change(start)
    # One that Python must not write into, or that only the caller may read.
    library = {} if row["user"] in ("root", "me") else {"PYTHONPATH": users.library()}
    return start.setting({"PYTHONDONTWRITEBYTECODE": "1", **library})


def _given(name: str) -> Callable[[Start], Start]:
    return next(one.apply for one in variation.VARIATIONS if one.name == name)


def _set(**values: str) -> Callable[[Start], Start]:
    return lambda start: start.setting(values)


def _prefix(*argv: str) -> Callable[[Start], Start]:
    return lambda start: start.within(*argv)


def _shell(script: str) -> Callable[[Start], Start]:
    return _prefix("sh", "-c", f'{script} && exec "$@"', "sh")


def _hostile_environment(start: Start) -> Start:
    """Beside what is known to get into artifacts: options of the programs that are started."""
    return _given("environment")(start).setting(
        {
            "CI": "true",
            "COLUMNS": "20",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "core.autocrlf",
            "GIT_CONFIG_VALUE_0": "true",
            "LD_BIND_NOW": "1",
            "PIP_INDEX_URL": "http://127.0.0.1:9/",
            "PIP_NO_BINARY": ":all:",
            "POSIXLY_CORRECT": "1",
            "PYTHONOPTIMIZE": "2",
            "TERM": "dumb",
        }
    )


def _empty_home(start: Start) -> Start:
    home = start.place / "home"
    home.mkdir(parents=True)
    return start.setting({"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")})


def _full_home(start: Start) -> Start:
    """With what tools read there."""
    home = start.place / "home of somebody else"
    texts = {
        ".gitconfig": "[core]\n\tautocrlf = true\n\teol = crlf\n[tar]\n\tumask = user\n[log]\n\tdecorate = full\n",
        ".pydistutils.cfg": "[build]\nbuild-base = /nowhere\n[install]\nprefix = /nowhere\n",
        ".config/pip/pip.conf": "[global]\nindex-url = http://127.0.0.1:9/\nno-binary = :all:\n",
        ".config/uv/uv.toml": 'index-url = "http://127.0.0.1:9/"\n',
        ".config/dpkg/buildpackage.conf": "unsigned-source\n",
        ".pexrc": "PEX_VERBOSE=9\n",
        ".devscripts": "DEBUILD_PRESERVE_ENV=yes\n",
    }
    for name, text in texts.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    return start.setting({"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")})


def _hostile_path(start: Start) -> Start:
    """Before the usual ones, a folder in which the tools of packers fail."""
    folder = start.place / "bin"
    folder.mkdir(parents=True)
    tools = ("ar", "cc", "dpkg", "dpkg-deb", "dpkg-buildpackage", "gcc", "gzip", "ld", "pip", "python3", "strip", "tar")
    for name in (*tools, "uv", "xz", "zstd", "sort", "find", "sed", "perl", "fakeroot", "ldconfig"):
        _program(folder / name, f"echo '{name} of the host was started' >&2; exit 99")
    path = dict(start.environment).get("PATH", os.environ["PATH"])
    return start.setting({"PATH": f"{folder}:{path}"})


def _program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def _locale(name: str) -> Callable[[Start], Start]:
    return _set(LANG=f"{name}.UTF-8", LC_ALL=f"{name}.UTF-8", LANGUAGE=name[:2])


def _locales(base: Path) -> Path:
    """Real ones, made once: C.UTF-8 is often the only one of a machine."""
    into = base / "locales"
    if not into.exists():
        into.mkdir()
        for name in FACTORS["locale"]:
            subprocess.run(["localedef", "-i", name, "-f", "UTF-8", str(into / f"{name}.UTF-8")], check=True)
    return into


# datefudge(1) changes only what time it is. libfaketime changes the clock of sleeping and waiting with it, and Python
# then sleeps for a year.
_OFFSET: Final = str(-373 * 86400)
_BWRAP: Final = """\
for word; do
    shift
    if [ "$word" = -- ] && [ -z "${{done-}}" ]; then
        set -- "$@" --ro-bind {library} /dev/later.so --setenv LD_PRELOAD /dev/later.so --setenv DATEFUDGE {offset}
        done=yes
    fi
    set -- "$@" "$word"
done
exec {bwrap} "$@"
"""


def _later(start: Start) -> Start:
    """More than a year later, also in the sandbox.

    That takes no variable along: a bwrap that is found first gives the library to what runs inside.
    """
    library = str(next(Path("/usr/lib").glob("*/datefudge/datefudge.so")))
    script = _BWRAP.format(library=library, offset=_OFFSET, bwrap=shutil.which("bwrap"))
    folder = start.place / "later"
    _program(folder / "bwrap", script)
    path = dict(start.environment).get("PATH", os.environ["PATH"])
    return start.setting({"PATH": f"{folder}:{path}", "LD_PRELOAD": library, "DATEFUDGE": _OFFSET})


_ELSEWHERE: Final = 'hostname elsewhere-7 && domainname elsewhere.example && exec "$@"'
_OTHER_HOST: Final = _prefix("unshare", "--uts", "sh", "-c", _ELSEWHERE, "sh") if ROOT else _given("host")
_NO_NETWORK: Final = _prefix("unshare", "--net") if ROOT else _given("network")

_CHANGES: Final[Mapping[tuple[str, str], Callable[[Start], Start]]] = {
    ("user", "nobody"): _prefix("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    ("user", "1111:2222"): _prefix("setpriv", "--reuid=1111", "--regid=2222", "--clear-groups"),
    ("build-path", "long"): _given("build-path"),
    ("host", "other"): _OTHER_HOST,
    ("network", "none"): _NO_NETWORK,
    ("kernel", "2.6"): _given("kernel"),
    ("aslr", "off"): _given("aslr"),
    ("cpus", "one"): _given("cpus"),
    ("priority", "lowest"): _given("priority"),
    ("limits", "low"): _given("limits"),
    ("time", "later"): _later,
    ("umask", "000"): _shell("umask 000"),
    ("umask", "077"): _shell("umask 077"),
    ("environment", "hostile"): _hostile_environment,
    ("home", "empty"): _empty_home,
    ("home", "full"): _full_home,
    ("locale", "tr_TR"): _locale("tr_TR"),
    ("locale", "et_EE"): _locale("et_EE"),
    ("time-zone", "GMT+12"): _set(TZ="Etc/GMT+12"),
    ("time-zone", "GMT-14"): _set(TZ="Etc/GMT-14"),
    ("exec-path", "hostile"): _hostile_path,
    ("shell", "bash"): lambda start: start.within("bash", "-c", 'exec "$@"', "bash").setting({"SHELL": "/bin/bash"}),
    ("shell", "none"): _given("shell"),
    ("hash-seed", "0"): _set(PYTHONHASHSEED="0"),
    ("hash-seed", "4242"): _given("hash-seed"),
}


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
