"""The real build root of Debian 12: resolved by apt, fetched, unpacked. Kept between runs, as a user's is."""

from __future__ import annotations

import os
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buildonce import buildroot, fetch
from buildonce import target as targets
from buildonce.debs import lock
from buildonce.system.console import SilentProgress
from buildonce.system.net import Net
from buildonce.system.run import HostRunner
from buildonce.system.store import Store

if TYPE_CHECKING:
    from buildonce.model import DebPin, Target

EXTRA = ("libpq-dev",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A root, and what it is made from."""

    target: Target
    pins: tuple[DebPin, ...]
    files: tuple[Path, ...]
    store: Store
    root: Path


@pytest.fixture(scope="session")
def made() -> Made:
    """In a place that every user can read, because roots are used by ordinary users too."""
    store = Store(Path(tempfile.gettempdir(), f"buildonce-test-store-{os.geteuid()}"))
    target = targets.load("debian-12")
    pins = lock.resolve(target, (*target.toolchain, *target.runtime, *EXTRA), HostRunner(), state=store.root)
    with closing(Net()) as net:
        found = fetch.fetch([pin.file for pin in pins], store=store, net=net, progress=SilentProgress())
    files = tuple(found[pin.file.sha256] for pin in pins)
    root = buildroot.ensure(target, pins, files, store, progress=SilentProgress())
    return Made(target=target, pins=pins, files=files, store=store, root=root)
