"""The factors of the variation matrix, and what each of their levels does to the start of a build.

A factor has two or three levels, each as far as can be from the others and from the usual. What `release reproduce
--vary` does comes from :mod:`buildonce.variation`; here are further levels and real users, for which the tests need
root. Who is not root varies the rest.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from buildonce import variation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from buildonce.variation import Start

__all__ = ["FACTORS", "ROOT", "Row", "applied"]

ROOT: Final = os.geteuid() == 0
Row = dict[str, str]  # of every factor, its level

# The folders that a build reads and writes: how they are listed, and what they lie on.
_FOLDERS: Final = ("disk", "memory", "shuffled")
_SOCKET: Final = Path("/var/run/docker.sock")

FACTORS: Final[Mapping[str, tuple[str, ...]]] = {
    "store": ("warm", "cold"),
    "runner": ("sandbox", "docker"),
    # First what needs rights, then who has none.
    "host": ("usual", "other"),
    "network": ("usual", "none"),
    "user": ("root", "nobody", "1111:2222") if ROOT else ("me",),
    "file-order": _FOLDERS,
    "build-path": ("short", "long"),
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
        ".pydistutils.cfg": f"[build]\nbuild-base = {home}/built\n[install]\nprefix = /nowhere\n",
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


def _user(uid: int, gid: int) -> Callable[[Start], Start]:
    """A real one, who may use the Docker engine when there is one."""
    groups = f"--groups={_SOCKET.stat().st_gid}" if _SOCKET.exists() else "--clear-groups"
    return _prefix("setpriv", f"--reuid={uid}", f"--regid={gid}", groups)


_ELSEWHERE: Final = 'hostname elsewhere-7 && domainname elsewhere.example && exec "$@"'
_OTHER_HOST: Final = _prefix("unshare", "--uts", "sh", "-c", _ELSEWHERE, "sh") if ROOT else _given("host")
_NO_NETWORK: Final = _prefix("unshare", "--net") if ROOT else _given("network")

_CHANGES: Final[Mapping[tuple[str, str], Callable[[Start], Start]]] = {
    ("user", "nobody"): _user(65534, 65534),
    ("user", "1111:2222"): _user(1111, 2222),
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


def applied(row: Row, start: Start) -> Start:
    """*start* as *row* wants it; what comes first in :data:`FACTORS` stays outside of the later ones."""
    for factor, level in row.items():
        if change := _CHANGES.get((factor, level)):
            start = change(start)
    return start
