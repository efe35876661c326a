"""What roots there are and which may go; real ones are in ``tests/integration/test_builder.py``."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from buildonce import buildroot, roots
from buildonce import target as targets
from buildonce.model import Digest
from buildonce.system import System
from buildonce.system.console import SilentProgress
from buildonce.system.net import Net
from buildonce.system.run import HostRunner
from buildonce.system.store import Store
from tests.lock.conftest import index, user  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lock.conftest import User
    from tests.lock.index import Index

OLD, NEW = Digest("0" * 64), Digest("1" * 64)
DAY = 86400


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    """A store with two small roots, one of them used forty days ago; no engine."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    store, net = Store(tmp_path / "store"), Net()

    def make(root: Path) -> None:
        (root / "usr/lib").mkdir(parents=True)
        (root / "usr/lib/os-release").write_text('ID=debian\nVERSION_ID="12"\n')
        (root / "var/lib/dpkg").mkdir(parents=True)
        (root / "var/lib/dpkg/arch").write_text("arm64\n")
        (root / "bin").symlink_to("usr/bin")

    script = (
        "import sys; from pathlib import Path; from buildonce.system.store import Store\n"
        "Store(Path(sys.argv[1])).folder('roots', sys.argv[2], lambda _: None, quick=True, hold=True)"
    )
    for key in (OLD, NEW):
        path = store.folder("roots", key, make, quick=True)
        subprocess.run([sys.executable, "-c", script, str(store.root), key], check=True)  # held, and let go
        path.with_name(f"{key}.layer").write_text("sha256:…")
    past = time.time() - 40 * DAY
    os.utime(store.root / f"roots/.{OLD}.held", (past, past))
    yield System(store=store, net=net, host=HostRunner(), progress=SilentProgress())
    net.close()


def test_a_lock_for_another_architecture_is_for_the_root_it_is_built_in(index: Index, user: User) -> None:  # noqa: F811
    index.add("plain", "1.0")
    user.project("plain", targets=("debian-12-arm64",))
    builder, lock = targets.load("debian-12"), user.lock()
    assert roots._locked(user.root) == {buildroot.key(builder, lock.debs(builder)): "debian-12"}


def test_listed_last_used_first(system: System, tmp_path: Path) -> None:
    new, old = roots.listed(tmp_path, system)
    assert (new.key, old.key) == (NEW, OLD)
    assert (new.target, new.image, new.locked) == ("debian-12-arm64", 0, False)
    assert new.stored == len('ID=debian\nVERSION_ID="12"\n') + len("arm64\n")


def test_gc_takes_what_was_not_used_lately(system: System, tmp_path: Path) -> None:
    would = roots.gc(tmp_path, system, days=30, dry_run=True)
    assert [root.key for root in would.roots] == [OLD]
    assert len(roots.listed(tmp_path, system)) == 2
    removed = roots.gc(tmp_path, system, days=30, dry_run=False)
    assert (removed.roots, removed.size, removed.busy) == (would.roots, would.size, ())
    assert [root.key for root in roots.listed(tmp_path, system)] == [NEW]
    left = {path.name for path in (system.store.root / "roots").iterdir()}
    assert left == {NEW, f"{NEW}.json", f"{NEW}.layer", f".{NEW}.lock", f".{NEW}.held", f".{OLD}.lock"}


def test_gc_leaves_what_a_build_uses(system: System, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from buildonce.system.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "store.folder('roots', sys.argv[2], lambda _: None, quick=True, hold=True); print('held', flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(system.store.root), OLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as build:
        assert build.stdout
        assert build.stdout.readline() == b"held\n"
        kept = roots.gc(tmp_path, system, days=-1, dry_run=False)
        build.communicate()
    assert [root.key for root in kept.busy] == [OLD]
    assert [root.key for root in kept.roots] == [NEW]
    assert [root.key for root in roots.gc(tmp_path, system, days=-1, dry_run=False).roots] == [OLD]


def test_gc_takes_what_killed_builds_left(system: System, tmp_path: Path) -> None:
    abandoned, fresh = (system.store.root / "roots" / name for name in (".abc.x1", ".abc.x2"))
    abandoned.mkdir()
    fresh.mkdir()
    past = time.time() - 2 * DAY
    os.utime(abandoned, (past, past))
    roots.gc(tmp_path, system, days=30, dry_run=False)
    assert (abandoned.exists(), fresh.exists()) == (False, True)
