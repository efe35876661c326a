"""Form oci: an image, loaded into docker or podman and known by its ID alone; names and tags mean nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import shell
from problems import VERIFICATION, Refused

if TYPE_CHECKING:
    from pathlib import Path

    from plan import Plan
    from record import Entry, Place


def loaded(engine: str, entry: Entry) -> bool:
    """Whether the engine has exactly this image."""
    done = shell.run(engine, "image", "inspect", "--format", "{{.Id}}", _bare(entry))
    # podman warns beside it, of cgroups of version 1 for one
    return done.ok and _bare(entry) in (line.removeprefix("sha256:") for line in done.output.splitlines())


def prepare(engine: str, entry: Entry, file: Path) -> None:
    """Load the verified *file*. Raises :class:`Refused` when it holds another image."""
    if not entry.image:
        raise Refused("the plan does not say which image it is", kind=VERIFICATION)
    if not loaded(engine, entry):
        shell.must(engine, "load", "--input", str(file), why=f"{engine} cannot load {file.name}")
    if not loaded(engine, entry):
        raise Refused(f"{file.name} holds another image than {entry.image}", kind=VERIFICATION)


def require(units: dict[str, str], entry: Entry) -> None:
    """Raise :class:`Refused` unless one of the *units* runs this image."""
    if not any(_bare(entry) in text for text in units.values()):
        raise Refused(f"no unit of the plan runs the image {entry.image}")


def installed(place: Place, plan: Plan, entry: Entry) -> bool:
    """Whether the units on the host are those that run it."""
    return loaded(plan.engine, entry) and all(
        (place.root / path).is_file() and (place.root / path).read_text("utf-8") == text
        for path, text in plan.units.items()
    )


def remove(engine: str, entry: Entry) -> None:
    """Forget the image; a container that still uses it keeps it. One at a time: podman removes none of several when
    one is missing.
    """
    if entry.image:
        shell.run(engine, "image", "rm", _bare(entry))


def migration(service: str, name: str, entry: Entry, words: tuple[str, ...]) -> str:
    """The unit *service* with a container of its own, beside the one that runs, that does *words* and ends.

    Also its folder below /run is its own; no port is published.
    """
    job = f"{name}-migrate"
    text = service.replace("\\\n", " ")
    text = re.sub(rf"(?m)^RuntimeDirectory={name}$", f"RuntimeDirectory={job}", text)
    text = re.sub(rf"(?<=/run/){name}(?=[/\s]|$)", job, text, flags=re.MULTILINE)
    text = re.sub(rf"(\srm --force|\s--name|\sstop -t \d+) {name}(?=\s|$)", rf"\1 {job}", text, flags=re.MULTILINE)
    lines = text.splitlines()
    at = next((n for n, line in enumerate(lines) if line.startswith("ExecStart=") and _bare(entry) in line), -1)
    if at < 0:
        raise Refused(f"the unit of {name} does not run the image {entry.image}")
    before, image, _ = re.split(rf"(\S*{_bare(entry)})", lines[at])
    program = f"--entrypoint /opt/venvs/{name}/bin/{words[0]}"
    lines[at] = f"{re.sub(' --publish +[^ ]+', '', before).rstrip()} {program} {' '.join((image, *words[1:]))}"
    return "\n".join(lines) + "\n"


def _bare(entry: Entry) -> str:
    return entry.image.removeprefix("sha256:")
