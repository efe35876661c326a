"""A signed release of a few bytes, and a machine."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from buildonce.system import System
from buildonce.system.console import SilentProgress
from buildonce.system.net import Net
from buildonce.system.run import HostRunner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buildonce.system.store import Store


@pytest.fixture
def folder(tmp_path: Path, signed: Path) -> Path:
    """A release of one's own to spoil."""
    return shutil.copytree(signed, tmp_path / "tinyapp")


class Notes(SilentProgress):
    """Remembers what a person would be told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def system(store: Store) -> Iterator[System]:
    net = Net(patience=1)
    yield System(store=store, net=net, host=HostRunner(), progress=Notes())
    net.close()


@pytest.fixture
def notes(system: System) -> list[str]:
    assert isinstance(system.progress, Notes)
    return system.progress.notes
