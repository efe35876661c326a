"""What the host remembers of its deployments: files that are whole at any moment, also after a power cut.

Nothing is ever changed in place: a new file is written beside the old one, brought to the disk and renamed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from problems import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
HISTORY = 50


@dataclass(frozen=True)
class Place:
    """Where the files of one service are; everything below *root*, which tests choose."""

    name: str
    root: Path = Path("/")

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise Refused(f"{self.name!r} is not the name of a service")

    @property
    def home(self) -> Path:
        return self.root / "var/lib/release" / self.name

    @property
    def pool(self) -> Path:
        return self.home / "pool"

    @property
    def program(self) -> Path:
        return self.home / "host.pyz"

    @property
    def plan(self) -> Path:
        return self.home / "plan.json"

    @property
    def parcel(self) -> Path:
        return self.home / "parcel.tar"

    @property
    def state(self) -> Path:
        return self.home / "state.json"

    @property
    def pending(self) -> Path:
        return self.home / "pending.json"

    @property
    def lease(self) -> Path:
        return self.home / "lock.json"

    @property
    def keyring(self) -> Path:
        return self.root / "etc/release/keys" / f"{self.name}.gpg"

    @property
    def opt(self) -> Path:
        return self.root / "opt" / self.name

    @property
    def go(self) -> Path:
        """Is there while the service may start although a deployment is not confirmed; no restart outlives it."""
        return self.root / "run/release" / self.name


@dataclass(frozen=True)
class Entry:
    """A version that was verified and is in the pool."""

    version: str
    format: str
    file: str
    sha256: str
    package: str = ""
    image: str = ""
    deployment: str = ""  # the one that brought it: its settings are in the pool under this name
    floor: str = ""


@dataclass(frozen=True)
class Pending:
    """A deployment that was begun and is not confirmed."""

    deployment: str
    to: Entry
    old: Entry | None  # "from" in the file
    armed: float
    due: float
    mode: str = "deploy"
    touched: bool = False  # the service was stopped, or more
    failed: bool = False  # it was tried to go back, in vain


@dataclass(frozen=True)
class State:
    """What runs here, and what ran before."""

    current: Entry | None = None
    previous: Entry | None = None
    earlier: tuple[Entry, ...] = ()  # before previous, the last one first
    history: tuple[dict[str, Any], ...] = ()

    def told(self, event: str, version: str, waits: Pending, by: str) -> State:
        """The same with one more line of history: what became of *waits*."""
        line = {"at": int(time.time()), "event": event, "version": version, "deployment": waits.deployment, "by": by}
        return replace(self, history=(*self.history, {**line, "armed": waits.armed})[-HISTORY:])

    def confirmed(self, waits: Pending) -> bool:
        """Whether *waits* came to its good end: a deployment can be armed twice, forward and back."""
        return any(
            (line["event"], line["deployment"], line.get("armed")) == ("confirmed", waits.deployment, waits.armed)
            for line in self.history
        )

    def after(self, entry: Entry, mode: str) -> State:
        """With *entry* as what runs; going back forgets what lay between."""
        trail = [one for one in (self.current, self.previous, *self.earlier) if one]
        if mode == "rollback":
            at = next((n for n, one in enumerate(trail) if one.version == entry.version), 0)
            trail = trail[at:]
        trail = [one for one in trail if one.version != entry.version]
        return replace(self, current=entry, previous=next(iter(trail), None), earlier=tuple(trail[1:]))


@dataclass(frozen=True)
class Lease:
    """Who deploys here just now."""

    deployment: str
    who: str
    since: float
    expires: float


def entry(fields: Any) -> Entry | None:
    """The entry in a JSON document; None for null."""
    if fields is None:
        return None
    known = Entry.__dataclass_fields__
    return Entry(**{key: str(value) for key, value in fields.items() if key in known})


def state(place: Place) -> State:
    """What is remembered; nothing yet when there is no file. Raises :class:`Refused` when it cannot be read."""
    found = load(place.state)
    if found is None:
        return State()
    with understood(place.state):
        earlier = tuple(one for one in map(entry, found.get("earlier", ())) if one)
        return State(entry(found["current"]), entry(found["previous"]), earlier, tuple(found.get("history", ())))


def remember(place: Place, new: State) -> None:
    save(place.state, asdict(new))


def pending(place: Place) -> Pending | None:
    """The deployment that is not confirmed, if there is one."""
    found = load(place.pending)
    if found is None:
        return None
    with understood(place.pending):
        to = entry(found.pop("to"))
        if to is None:
            raise KeyError("to")
        return Pending(to=to, old=entry(found.pop("from")), **found)


def expect(place: Place, new: Pending) -> None:
    """Remember that *new* is not confirmed."""
    fields = asdict(new)
    fields["from"] = fields.pop("old")
    save(place.pending, fields)


def settled(place: Place) -> None:
    """Nothing is pending any more."""
    remove(place.pending)


def lease(place: Place) -> Lease | None:
    found = load(place.lease)
    with understood(place.lease):
        return Lease(**found) if found else None


def load(path: Path) -> Any:
    """The JSON document in *path*; None when it is not there."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Refused(f"{path} cannot be read: {error}", "it is a JSON document: mend it, or move it away") from error


@contextlib.contextmanager
def understood(path: Path) -> Iterator[None]:
    """Say which file is not as it should be."""
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{path} is not what a step wrote: {error!r}", "mend it, or move it away") from error


def save(path: Path, fields: Any, *, new: bool = False) -> None:
    write(path, (json.dumps(fields, indent=1) + "\n").encode(), mode=0o600, new=new)


def write(path: Path, data: bytes, *, mode: int = 0o644, new: bool = False) -> None:
    """Write the whole file or nothing of it; with *new* only when there is none (FileExistsError)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as out:
            os.fchmod(out.fileno(), mode)
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        if new:
            os.link(aside, path)
        else:
            aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    flush(path.parent)


def remove(path: Path) -> bool:
    """Take a file away for good; whether it was there."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    flush(path.parent)
    return True


def flush(path: Path) -> None:
    """Bring a file to the disk; of a folder the names in it."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextlib.contextmanager
def aside(folder: Path, what: str) -> Iterator[Path]:
    """A new empty folder in *folder*, taken away in the end unless it was renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f".{what}-*"):
        shutil.rmtree(left)  # a step that was cut off; none other runs
    made = folder / f".{what}-{os.getpid()}"
    made.mkdir(mode=0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def alone(place: Place, seconds: float) -> Iterator[None]:
    """One step at a time on this host; waits for another one to end. Raises :class:`Refused`."""
    path = place.root / "run/lock" / f"release-{place.name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:  # a child does not inherit it
        end = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Refused(
                        f"another step of {place.name} has been running on this host for {seconds:g} s",
                        "wait for its end: systemctl status 'release-*', ps",
                    ) from None
                time.sleep(0.1)
        yield
