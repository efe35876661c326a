"""Which release is started: what is there is verified before anything else happens."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from buildonce import project as projects
from buildonce.errors import ReleaseError, VerificationError
from buildonce.local.choosing import choose
from buildonce.publishers import Means
from buildonce.system import System
from buildonce.system.console import SilentProgress
from buildonce.system.net import Net
from buildonce.system.run import HostRunner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buildonce.project import Project
    from buildonce.signing import Key
    from buildonce.system.store import Store


@pytest.fixture
def means(key: Key, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Means]:
    """No engine: whatever asks for one says so."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    net = Net()
    system = System(store=store, net=net, host=HostRunner(), progress=SilentProgress())
    yield Means(system=system, key=lambda _: key, trusted=(key.public,))
    net.close()


def project(root: Path, name: str) -> Project:
    root.mkdir(exist_ok=True)
    (root / "pyproject.toml").write_text(f'[project]\nname = "{name}"\nversion = "1.0"\n')
    return projects.read(root)


def test_nothing_was_built(means: Means, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="nothing was built here"):
        choose(project(tmp_path / "p", "tinyapp"), "", None, means)


@pytest.mark.parametrize("what", ["9.9.9", "no/such/folder"])
def test_there_is_no_such_release(means: Means, tmp_path: Path, what: str) -> None:
    with pytest.raises(ReleaseError, match=f"there is no release '{what}' here"):
        choose(project(tmp_path / "p", "tinyapp"), what, None, means)


def test_it_is_verified_before_the_engine_is_asked(means: Means, tmp_path: Path, signed: Path) -> None:
    spoilt = tmp_path / "spoilt"
    shutil.copytree(signed, spoilt)
    wheel = next(spoilt.glob("*.whl"))
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"x")
    with pytest.raises(VerificationError, match="was signed"):
        choose(project(tmp_path / "p", "tinyapp"), str(spoilt), None, means)
