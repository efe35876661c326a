"""Promotion between folders: what is refused. What moves and is recorded: ``tests/integration/test_publish.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buildonce import promoting, publishing
from buildonce.errors import ConfigurationError, ReleaseError, VerificationError
from buildonce.publishers import FolderPublisher, Means
from buildonce.signing import release as releases
from buildonce.system import System
from buildonce.system.console import SilentProgress
from buildonce.system.net import Net
from buildonce.system.run import HostRunner

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.promoting import Promoted
    from buildonce.signing import Key
    from buildonce.system.store import Store

VERSION = "1.2.4.dev5+g1a2b3c4"
PROJECT = """\
[project]
name = "tinyapp"
version = "1"

[tool.release.publish.staging]
type = "folder"
path = "staging"

[tool.release.publish.production]
type = "folder"
path = "production"

[tool.release.publish.registry]
type = "registry"
image = "oci://registry.example.org/team/tinyapp"
"""


@pytest.fixture
def root(tmp_path: Path, signed: Path, key: Key) -> Path:
    """A project with its release in the folder ``staging``."""
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    for name in ("staging", "production"):
        (tmp_path / name).mkdir()
    release = publishing.outgoing(signed, releases.verify(signed, [key.public]))
    publishing.deliver("staging", FolderPublisher(tmp_path / "staging"), release, SilentProgress())
    # Its artifacts are no real ones: with one of them gone only the documents and the digests are verified.
    next((tmp_path / "staging/tinyapp" / VERSION).glob("*.whl")).unlink()
    return tmp_path


@pytest.fixture
def means(store: Store, key: Key) -> Means:
    system = System(store=store, net=Net(), host=HostRunner(), progress=SilentProgress())
    return Means(system=system, key=lambda _: key, trusted=(key.public,))


def promote(
    root: Path, means: Means, *, source: str = "staging", target: str = "production", dry_run: bool = False
) -> Promoted:
    return promoting.promote(root, VERSION, means, source=source, target=target, user="ada", dry_run=dry_run)


def test_a_byte_that_was_changed(root: Path, means: Means) -> None:
    pex = next((root / "staging/tinyapp" / VERSION).glob("*.pex"))
    pex.write_bytes(pex.read_bytes() + b"!")
    with pytest.raises(VerificationError, match="was signed"):
        promote(root, means)
    assert list((root / "production").iterdir()) == []


def test_a_version_that_is_not_there(root: Path, means: Means) -> None:
    with pytest.raises(ReleaseError, match="is not published there"):
        promoting.promote(root, "9.9", means, source="staging", target="production", user="ada")


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("stagign", "production", "no destination is called 'stagign'"),
        ("staging", "staging", "both where it is and where it goes"),
    ],
)
def test_destinations_that_cannot_be(root: Path, means: Means, source: str, target: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        promote(root, means, source=source, target=target)
