"""Form oci: an image, loaded into docker or podman and known by its ID alone; names and tags mean nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import record
import shell
from problems import VERIFICATION, Refused

if TYPE_CHECKING:
    from pathlib import Path

    from plan import Plan
    from record import Entry, Place


def loaded(engine: str, entry: Entry) -> bool:
    """Whether the engine has exactly this image."""
    done = shell.run(engine, "image", "inspect", _bare(entry))
    try:
        found = json.loads(done.output) if done.ok else []
    except ValueError:
        return False
    return any(str(one.get("Id", "")).removeprefix("sha256:") == _bare(entry) for one in found)


def prepare(engine: str, entry: Entry, file: Path) -> None:
    """Load the verified *file*. Raises :class:`Refused` when it holds another image."""
    if not entry.image:
        raise Refused("the plan does not say which image it is", kind=VERIFICATION)
    if not loaded(engine, entry):
        shell.must(engine, "load", "--input", str(file), why=f"{engine} cannot load {file.name}")
    if not loaded(engine, entry):
        raise Refused(f"{file.name} holds another image than {entry.image}", kind=VERIFICATION)


def require(plan: Plan, entry: Entry) -> None:
    """Raise :class:`Refused` unless the units run this image."""
    if not any(_bare(entry) in text for text in plan.units.values()):
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


def run(place: Place, plan: Plan, entry: Entry, words: tuple[str, ...], timeout: float) -> shell.Done:
    """Run a command of the project in a container of its own that reaches what the service reaches."""
    service, container = plan.service, f"release-migrate-{place.name}"
    shell.run(plan.engine, "rm", "--force", container)
    variables = [f"--env={key}={value}" for key, value in sorted(service.environment.items())]
    settings = place.root / "etc" / place.name / "env"
    if settings.is_file():
        with record.aside(place.home, "environment") as made:
            path = made / "env"
            record.write(path, environment(settings.read_text("utf-8")).encode(), mode=0o600)
            return _run(plan, entry, words, (*variables, f"--env-file={path}"), timeout)
    return _run(plan, entry, words, tuple(variables), timeout)


def _run(plan: Plan, entry: Entry, words: tuple[str, ...], options: tuple[str, ...], timeout: float) -> shell.Done:
    container = f"release-migrate-{plan.name}"
    done = shell.run(
        *(plan.engine, "run", "--rm", f"--name={container}", "--pull=never", "--network=host"),
        *("--cap-drop=ALL", "--security-opt=no-new-privileges", *options),
        *(f"--volume={one}:{one}" for one in plan.service.writable),
        *(f"--entrypoint={words[0]}", _bare(entry), *words[1:]),
        timeout=timeout,
    )
    if not done.ok:
        shell.run(plan.engine, "rm", "--force", container)
    return done


def environment(text: str) -> str:
    """A file as systemd reads it (EnvironmentFile= in systemd.exec(5)), for an engine, to which quotes are values."""
    lines = []
    for line in text.replace("\\\n", "").splitlines():
        key, equals, value = line.strip().partition("=")
        if not equals or key.startswith(("#", ";")):
            continue
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        lines.append(f"{key.strip()}={value}\n")
    return "".join(lines)


def _bare(entry: Entry) -> str:
    return entry.image.removeprefix("sha256:")
