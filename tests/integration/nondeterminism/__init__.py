"""A project with one fault of each class of non-determinism, and two places that differ in all that they show."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from buildonce.difference import Cause

__all__ = ["FAULTS", "LOCALE", "PLACES", "Place", "lay", "locales"]

HERE: Final = Path(__file__).parent
FAULTS: Final = tuple(sorted(path.stem.replace("_", " ") for path in (HERE / "faults").glob("*.py")))
LOCALE: Final = "de_DE.UTF-8"

assert set(FAULTS) < set(get_args(Cause))


def lay(fault: str, into: Path, *, backwards: bool = False) -> Path:
    """Write the project with *fault* (``""`` for none) to *into*; its files come into being forwards or *backwards*.

    A file system in memory lists them in that order, or in the opposite one.
    """
    into.mkdir(parents=True)
    for path in sorted((HERE / "project").rglob("*.*"), reverse=backwards):
        if "__pycache__" not in path.parts and path.is_file():
            place = into / path.relative_to(HERE / "project")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
    if fault:
        shutil.copyfile(HERE / "faults" / f"{fault.replace(' ', '_')}.py", into / "fault.py")
    return into


def locales(into: Path) -> Path:
    """A folder for ``LOCPATH`` with a language that writes decimal commas."""
    language, _, charset = LOCALE.partition(".")
    into.mkdir()
    command = ["localedef", "--no-archive", "-i", language, "-f", charset, str(into / LOCALE)]
    subprocess.run(command, check=True, capture_output=True)
    return into


@dataclass(frozen=True, kw_only=True)
class Place:
    """Somebody's machine: everything that reprotest varies and that a build could write down."""

    folder: str
    host: str
    user: str
    number: int  # of the user
    umask: str
    locale: str
    zone: str
    seed: str
    level: str
    later: str  # the clock, as faketime has it
    backwards: bool

    def environment(self, locales: Path) -> dict[str, str]:
        """What a build sees beside the paths of its programs."""
        return {
            "HOME": f"/home/{self.user}",
            "LOGNAME": self.user,
            "USER": self.user,
            "LANG": self.locale,
            "LC_ALL": self.locale,
            "LOCPATH": str(locales),
            "TZ": self.zone,
            "PYTHONHASHSEED": self.seed,
            "COMPRESSION_LEVEL": self.level,
        }

    def copy(self, project: Path, top: Path) -> Path:
        """Bring *project* here as this user has it: new files under this umask."""
        root = shutil.copytree(project, top / self.folder / project.name, copy_function=shutil.copyfile)
        for path in (root, *root.rglob("*")):
            path.chmod((0o777 if path.is_dir() else 0o666) & ~int(self.umask, 8))
        return root

    def build(self, project: Path, locales: Path, *options: str) -> list[Path]:
        """Build *project* here by pypa/build, as anybody would."""
        who = ("--unshare-user", "--uid", str(self.number), "--gid", str(self.number))
        room = ("bwrap", "--dev-bind", "/", "/", *who, "--unshare-uts", "--hostname", self.host, "--")
        enter = ("sh", "-c", f'umask {self.umask}; exec "$@"', "sh", "faketime", self.later)
        build = (sys.executable, "-m", "build", "--no-isolation", *options, str(project))
        path = {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run(
            [*room, *enter, *build], env=path | self.environment(locales), cwd="/", check=True, capture_output=True
        )
        return sorted((project / "dist").iterdir())

    def wheel(self, fault: str, top: Path, locales: Path) -> Path:
        """The wheel of the project with *fault*, built here; *top* is in memory."""
        (made,) = self.build(lay(fault, top / self.folder / "shop", backwards=self.backwards), locales, "--wheel")
        return made


PLACES: Final = (
    Place(
        folder="ada",
        host="ada-laptop",
        user="ada",
        number=1000,
        umask="022",
        locale="C.UTF-8",
        zone="UTC",
        seed="1",
        level="1",
        later="+0 days",
        backwards=False,
    ),
    Place(
        folder="srv/ci/builds/0042",
        host="runner-7",
        user="jenkins",
        number=1234,
        umask="077",
        locale=LOCALE,
        zone="Pacific/Kiritimati",
        seed="2",
        level="9",
        later="+400 days",
        backwards=True,
    ),
)
