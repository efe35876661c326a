"""The same work by hand and by buildonce, in one run on one machine: what counts are the ratios.

./dev bench             the application of the budgets, all formats
./dev bench --quick     examples/hello, without docker: to see that the bench works
./dev bench --json      the same as data
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import byhand
import works
from platformdirs import user_cache_path

from buildonce import buildroot
from buildonce import lock as locks
from buildonce import project as projects
from buildonce import target as targets
from buildonce.system.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from buildonce.model import Digest

TARGET = "debian-12"
RELEASE = [sys.executable, "-m", "buildonce"]
SHARED = Path(os.environ.get("BUILDONCE_STORE") or user_cache_path("buildonce"))


@dataclass(frozen=True)
class Row:
    """One line of the table; seconds where *unit* is s."""

    what: str
    by_hand: float | None
    ours: float
    unit: str
    ratio: float | None
    budget: str
    met: bool | None  # None when the budget is not for this work


@dataclass(frozen=True)
class Ran:
    seconds: float
    peak: int  # bytes, of the process itself
    out: str


class Ours:
    """``release`` in the project, with a store of its own."""

    def __init__(self, work: works.Work, folder: Path) -> None:
        self.work, self.store = work, folder / "store"
        self.environment = {**os.environ, "BUILDONCE_STORE": str(self.store), "XDG_CONFIG_HOME": str(folder / "config")}

    def run(self, *arguments: str) -> Ran:
        began = time.perf_counter()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                [*RELEASE, *arguments],
                cwd=self.work.root,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=said,
            )
            peak = Peak(process.pid)
            out = process.communicate()[0].decode()
            seconds = time.perf_counter() - began
            if process.returncode:
                said.seek(0)
                raise byhand.StepError(f"release {' '.join(arguments)}\n{said.read().decode()}")
        return Ran(seconds, peak.stop(), out)

    def build(self) -> tuple[Ran, Path]:
        ran = self.run("build", "--json")
        return ran, Path(json.loads(ran.out)["dir"])

    def only_fetched(self, seed: Path) -> None:
        """Make the store one that holds what *seed* has of fetched files and build roots, and nothing else."""
        shutil.rmtree(self.store, ignore_errors=True)
        self.store.mkdir(parents=True)
        for kind in ("files", "roots"):
            if (seed / kind).is_dir():
                shutil.copytree(seed / kind, self.store / kind, symlinks=True, copy_function=_link)

    @property
    def root_key(self) -> Digest:
        """The build root of the project."""
        target = targets.load(TARGET)
        return buildroot.key(target, locks.read(projects.read(self.work.root)).debs(target))

    def look(self) -> None:
        """Read the build root once: links changed the times of its files, and the clock should not measure that."""
        Store(self.store).folder("roots", self.root_key, _never, quick=True)


def _never(root: Path) -> None:
    raise AssertionError(f"{root} should not be needed")


def _link(source: str, place: str) -> None:
    try:
        os.link(source, place, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, place, follow_symlinks=False)


class Peak:
    """Watches how much memory a process holds at most (proc_pid_status(5), VmHWM)."""

    def __init__(self, pid: int) -> None:
        self._status, self._most = Path(f"/proc/{pid}/status"), 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            try:
                lines = self._status.read_text().splitlines()
            except OSError:
                return
            self._most = max([self._most, *(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))])

    def stop(self) -> int:
        self._ended.set()
        self._thread.join()
        return self._most


def say(line: str) -> None:
    print(f"==> {line}", file=sys.stderr, flush=True)


def locked_files(work: works.Work, store: Store) -> tuple[list[Path], list[str]]:
    """Every locked Python file of the target, and the application's pins."""
    lock, target = locks.read(projects.read(work.root)), targets.load(TARGET)
    chosen = lock.select(target)
    places = {one.file.sha256: store.file(one.file.sha256, one.file.filename) for one in (*chosen, *lock.build(target))}
    pins = [f"{one.name}=={one.version}" for one in chosen]
    return [path for path in places.values() if path is not None], pins


def bytes_written_and_hashed(folder: Path, into: Path) -> float:
    """Seconds for what no build can leave out: the release's bytes written to disk and hashed, once."""

    def once() -> None:
        for path in (path for path in folder.iterdir() if path.is_file()):
            digest = hashlib.sha256()
            with path.open("rb") as source, (into / path.name).open("wb") as target:
                while chunk := source.read(1 << 20):
                    digest.update(chunk)
                    target.write(chunk)

    into.mkdir()
    return byhand.timed(once)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def prepared(make: Callable[[Path], works.Work], folder: Path) -> tuple[works.Work, Ours]:
    """The project, locked and committed; all its files fetched, its build root made, everything else forgotten."""
    work = make(folder)
    ours = Ours(work, folder)
    say(f"{work.name}: lock and fetch (not timed)")
    ours.only_fetched(SHARED)
    ours.run("lock")
    work.git("add", "--all")
    work.git("commit", "--quiet", "-m", "Locked")
    work.git("tag", work.tag)
    ours.run("build", "--format", "wheel", "--out", str(folder / "fetched"))
    seed = folder / "seed"
    ours.store.rename(seed)
    ours.only_fetched(seed)
    ours.look()
    return work, ours


def measure(folder: Path, *, quick: bool) -> tuple[str, dict[str, float], list[Row], list[str]]:
    skipped: list[str] = []
    work, ours = prepared(works.hello if quick else works.ledger, folder)
    hand = by_hand(work, ours, folder, quick=quick, skipped=skipped)
    total = sum(hand.values())

    say(f"{work.name}: release build, cold, then unchanged, then one line changed")
    cold, _ = ours.build()
    same, _ = ours.build()
    work.change_a_line()
    warm, made = ours.build()
    floor = hand["build"] + bytes_written_and_hashed(made, folder / "written")
    verified = ours.run("verify", str(made))
    helps = statistics.median(ours.run("--help").seconds for _ in range(5))

    def row(what: str, hand: float | None, ran: float, budget: str, met: bool, unit: str = "s") -> Row:
        ratio = None if hand is None else hand / ran
        return Row(what, hand, ran, unit, ratio, budget, None if quick else met)

    rows = [
        row("cold build", total, cold.seconds, ">= 10x", total / cold.seconds >= 10),
        row("one line changed", total, warm.seconds, ">= 50x", total / warm.seconds >= 50),
        row("… against what cannot be left out", floor, warm.seconds, "<= 2x the time", warm.seconds <= 2 * floor),
        row("nothing changed", total, same.seconds, "<= 1 s", same.seconds <= 1),
        row("release verify", None, verified.seconds, "<= 2 s", verified.seconds <= 2),
        row("release --help", None, helps, "<= 0.15 s", helps <= 0.15),
        memory(cold, size(made), folder, quick=quick),
    ]
    return work.name, hand, rows, skipped


def by_hand(work: works.Work, ours: Ours, folder: Path, *, quick: bool, skipped: list[str]) -> dict[str, float]:
    """Seconds of every step by hand."""
    store = Store(ours.store)
    found, pins = locked_files(work, store)
    bench = byhand.Bench(
        root=ours.store / "roots" / ours.root_key, folder=folder / "by-hand", name=work.name, log=folder / "by-hand.log"
    )
    say(f"{work.name}: by hand, {len(pins)} packages")
    byhand.prepare(bench, work.root, found, pins)
    todo = byhand.steps(bench)
    if quick:
        skipped.append("docker build: left out by --quick")
    elif byhand.docker_is_there():
        todo["docker build"] = byhand.docker_step(bench)
    else:
        skipped.append("docker build: no Docker engine answers, or there is no mmdebstrap; the sum is without it")
    times = {}
    for name, step in todo.items():
        times[name] = byhand.timed(step)
        say(f"    {name}: {times[name]:.1f} s")
    return times


def memory(cold: Ran, made: int, folder: Path, *, quick: bool) -> Row:
    """The peak, against that of a smaller application: it has to stay although there is more to write."""
    peak = cold.peak / 1e6
    if quick:
        return Row("peak memory", None, peak, "MB", None, "does not grow", None)
    small = folder / "small"
    small.mkdir()
    _, ours = prepared(works.orders, small)
    ran, less = ours.build()
    grown = cold.peak / ran.peak
    small_size = size(less) / 1e6
    say(f"peak {ran.peak / 1e6:.0f} MB for {small_size:.0f} MB of artifacts, {peak:.0f} MB for {made / 1e6:.0f} MB")
    return Row("peak memory (by hand: of orders)", ran.peak / 1e6, peak, "MB", 1 / grown, "does not grow", grown <= 1.2)


def table(rows: list[Row]) -> str:
    """Columns as wide as their content."""
    cells = [("what", "by hand", "ours", "ratio", "budget", "")]
    for row in rows:
        hand = "" if row.by_hand is None else f"{row.by_hand:.1f} {row.unit}"
        ratio = "" if row.ratio is None else f"{row.ratio:.1f}x"
        met = {True: "met", False: "NOT MET", None: ""}[row.met]
        cells.append((row.what, hand, f"{row.ours:.2f} {row.unit}", ratio, row.budget, met))
    widths = [max(len(line[column]) for line in cells) for column in range(6)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="examples/hello, without docker; no budget is judged")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="buildonce-bench-") as folder:
        try:
            name, hand, rows, skipped = measure(Path(folder), quick=chosen.quick)
        except byhand.StepError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    if chosen.json:
        result = {"application": name, "cpus": os.cpu_count(), "by_hand": hand, "skipped": skipped}
        print(json.dumps({**result, "rows": [asdict(row) for row in rows]}, indent=2))
        return 0
    print(f"{name}, {os.cpu_count()} processors; by hand: {', '.join(f'{k} {v:.1f} s' for k, v in hand.items())}")
    print(table(rows))
    for line in skipped:
        print(f"left out: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
