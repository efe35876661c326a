"""What must not change a byte: other users, places, clocks and tools, as changes to how a command is started.

After reprotest (salsa.debian.org/reproducible-builds/reprotest) and what reproducible-builds.org varies. A
variation is data: a prefix of the command line, variables, another folder. Whoever starts the command, the
release tool or a test, decides which ones and in which combinations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from buildonce.errors import BuildError, MissingToolError
from buildonce.model import Command
from buildonce.system import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from buildonce.protocols import Runner

__all__ = ["VARIATIONS", "Start", "Variation", "all_of", "usable"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """How a command is started.

    ``place`` is a folder of this run's own, whole before the command starts: whatever it reads and writes lies
    below, so that a variation can move it. ``prefix`` stands before the command line, ``environment`` is set
    over the caller's.
    """

    place: Path
    prefix: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    def command(self, *argv: str, capture: bool = False, cwd: Path | None = None) -> Command:
        """The command *argv*, started this way; in ``place`` unless *cwd* is given."""
        return Command(
            argv=(*self.prefix, *argv),
            cwd=str(cwd or self.place),
            environment=self.environment,
            capture=capture,
        )

    def within(self, *argv: str) -> Start:
        """The same with *argv* as the innermost part of the prefix."""
        return replace(self, prefix=(*self.prefix, *argv))

    def setting(self, values: Mapping[str, str]) -> Start:
        """The same with more variables."""
        return replace(self, environment=(*self.environment, *values.items()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Variation:
    """One thing that is different: ``says`` tells a person what."""

    name: str
    says: str
    apply: Callable[[Start], Start]


def all_of(start: Start, variations: Iterable[Variation]) -> Start:
    """*start* with all of *variations*; those that come first in :data:`VARIATIONS` stay outside the later ones."""
    for one in sorted(variations, key=VARIATIONS.index):
        start = one.apply(start)
    return start


def usable(variation: Variation, runner: Runner, scratch: Path) -> bool:
    """Whether this machine can do it, found out by doing it to ``true`` in the folder *scratch*."""
    with files.scratch(scratch, variation.name) as place:
        start = variation.apply(Start(place=place))
        start.place.mkdir(parents=True, exist_ok=True)
        try:
            return runner.run(start.command("true"), check=False).returncode == 0
        except (BuildError, MissingToolError):
            return False


_CANARY: Final = "CANARY-a7c1-must-not-be-in-any-artifact"

# Shows the run's folder through a file system that lists folders in random order. In a mount namespace of its own
# and in the foreground: whatever ends the run, even SIGKILL, ends the mount too.
_SHUFFLED: Final = """\
place=$1 real=$1.real; shift
cd /
finish() { umount "$place"; wait "$daemon"; rmdir "$place" && mv "$real" "$place"; }
mv "$place" "$real" && mkdir "$place" || exit
disorderfs -f --quiet --shuffle-dirents=yes "$real" "$place" &
daemon=$!
while ! mountpoint -q "$place"; do
    kill -0 "$daemon" || { rmdir "$place"; mv "$real" "$place"; exit 1; }
    sleep 0.05
done
trap 'exit 143' TERM INT HUP
trap 'finish' EXIT
(cd "$place" && "$@")
"""
_HOST: Final = 'hostname elsewhere-7 && domainname elsewhere.example && exec "$@"'
_UMASK: Final = 'umask 077 && exec "$@"'


def _file_order(start: Start) -> Start:
    alone = ("unshare", "--user", "--map-root-user", "--mount")
    return start.within(*alone, "sh", "-c", _SHUFFLED, "sh", str(start.place))


def _environment(start: Start) -> Start:
    return start.setting(
        {
            **dict.fromkeys(("BUILD_CANARY", "DEBFULLNAME", "LOGNAME", "USER", "USERNAME"), _CANARY),
            "DEBEMAIL": "canary@example.org",
            "CFLAGS": "-O1 -g -DCANARY=1",
            "DEB_BUILD_OPTIONS": "nocheck parallel=7",
            "GZIP": "-1",
            "MAKEFLAGS": "-j7",
            "SOURCE_DATE_EPOCH": "1",
            "TAR_OPTIONS": "--owner=canary",
            "XZ_DEFAULTS": "-T2",
            "ZSTD_CLEVEL": "1",
        }
    )


def _personality(start: Start, option: str) -> Start:
    """With *option* of setarch, which sets all of them at once: a second one would undo the first."""
    if "setarch" not in start.prefix:
        return start.within("setarch", option)
    at = start.prefix.index("setarch") + 1
    return replace(start, prefix=(*start.prefix[:at], option, *start.prefix[at:]))


def _home(start: Start) -> Start:
    home = start.place / "home of somebody else"
    xdg = {f"XDG_{name.upper()}_HOME": str(home / name) for name in ("config", "cache", "data")}
    return start.setting({"HOME": str(home), **xdg})


# The order is from the outside in: a change of the user comes after all that needs rights in its namespace.
# `unshare --user` itself needs none.
VARIATIONS: Final = (
    Variation(
        name="build-path",
        says="in another folder, with a longer name, a space and other letters",
        apply=lambda start: replace(start, place=start.place / "a much longer path" / "to-the-same" / "b\u00fcild"),
    ),
    Variation(name="file-order", says="folders are listed in random order (disorderfs)", apply=_file_order),
    Variation(
        name="host",
        says="on a host of another name and domain",
        apply=lambda start: start.within("unshare", "--user", "--map-root-user", "--uts", "sh", "-c", _HOST, "sh"),
    ),
    Variation(
        name="network",
        says="without network, not even to itself",
        apply=lambda start: start.within("unshare", "--user", "--map-root-user", "--net"),
    ),
    Variation(
        name="user",
        says="by user and group 1111, whom the system does not know",
        apply=lambda start: start.within("unshare", "--user", "--map-user=1111", "--map-group=1111"),
    ),
    Variation(name="kernel", says="on a kernel called 2.6", apply=lambda start: _personality(start, "--uname-2.6")),
    Variation(
        name="aslr",
        says="without random addresses",
        apply=lambda start: _personality(start, "--addr-no-randomize"),
    ),
    Variation(name="cpus", says="on one CPU", apply=lambda start: start.within("taskset", "--cpu-list", "0")),
    Variation(name="priority", says="at the lowest priority", apply=lambda start: start.within("nice", "-n", "19")),
    Variation(
        name="limits",
        says="with few open files and a small stack",
        apply=lambda start: start.within("prlimit", "--nofile=512", "--stack=4194304"),
    ),
    Variation(
        name="time",
        says="more than a year later (faketime)",
        apply=lambda start: start.within("faketime", "-f", "+373d"),
    ),
    Variation(name="umask", says="with umask 077", apply=lambda start: start.within("sh", "-c", _UMASK, "sh")),
    Variation(
        name="environment",
        says="with variables that tools heed, and canaries",
        apply=_environment,
    ),
    Variation(name="home", says="with another home", apply=_home),
    Variation(
        name="locale",
        says="in a Turkish locale",
        apply=lambda start: start.setting({"LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8", "LANGUAGE": "tr"}),
    ),
    Variation(
        name="time-zone",
        says="fourteen hours east of Greenwich",
        apply=lambda start: start.setting({"TZ": "Pacific/Kiritimati"}),
    ),
    Variation(
        name="exec-path",
        says="with other folders in PATH",
        apply=lambda start: start.within("sh", "-c", 'PATH="$PATH:/opt/elsewhere/bin:/usr/games" exec "$@"', "sh"),
    ),
    Variation(
        name="shell", says="with another login shell", apply=lambda start: start.setting({"SHELL": "/bin/false"})
    ),
    Variation(
        name="hash-seed",
        says="with another hash seed",
        apply=lambda start: start.setting({"PYTHONHASHSEED": "4242"}),
    ),
)
