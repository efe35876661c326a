"""What an apt repository needs between releases."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buildonce import publishing, upkeep
from buildonce.errors import ConfigurationError, ReleaseError, VerificationError
from buildonce.publishers import AptPublisher
from buildonce.signing import keys
from buildonce.system.console import SilentProgress
from tests import small_release
from tests.crashing import Crashes
from tests.publishers import making
from tests.publishers.sites import APT, means

if TYPE_CHECKING:
    from collections.abc import Callable

    from buildonce.signing import Key
    from tests.conftest import Told

DAY = 86_400
NOW = small_release.EPOCH + DAY

PROJECT = """\
[project]
name = "tinyapp"
version = "1.0"

[tool.release.publish.staging]
type = "apt"
path = "apt"
suite = "{codename}-staging"

[tool.release.publish.production]
type = "apt"
path = "apt"
valid_days = 10

[tool.release.publish.shelf]
type = "folder"
path = "shelf"
"""


@pytest.fixture
def project(tmp_path: Path, key: Key) -> Path:
    """Five versions in staging, the first two in production."""
    return made(tmp_path / "project", key)


def made(root: Path, key: Key) -> Path:
    (root / "apt").mkdir(parents=True)
    (root / "pyproject.toml").write_text(PROJECT)
    for number in range(5):
        release = making.release(root.with_name(f"release-{number}"), f"1.{number}")
        for suite in ("{codename}-staging", *(["{codename}"] if number < 2 else [])):
            chosen = APT.model_copy(update={"suite": suite})
            publisher = AptPublisher(root / "apt", chosen, means(key), clock=lambda: NOW)
            publishing.deliver("apt", publisher, release, SilentProgress())
    return root


def versions(root: Path, key: Key) -> dict[str, list[str]]:
    found = upkeep.overview(root, ["staging", "production"], means(key))
    return {one.destination: [p.version.split("-")[0] for p in one.packages] for one in found}


def pool(root: Path) -> list[str]:
    return sorted(path.name.split("_")[1].split("-")[0] for path in root.glob("apt/pool/**/*.deb"))


def test_the_overview_tells_destinations_of_one_folder_apart(project: Path, key: Key) -> None:
    assert versions(project, key) == {
        "staging": ["1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0"],
        "production": ["1.0.0", "1.1.0"],
    }


def test_signing_anew_changes_the_time_alone(project: Path, key: Key) -> None:
    before = versions(project, key)
    lists = {path: path.read_bytes() for path in project.glob("apt/dists/*/*/*/Packages*")}
    done = upkeep.resign(project, ["production"], means(key), clock=lambda: NOW + 5 * DAY)
    assert [(one.suite, one.signed, one.valid_until) for one in done] == [("bookworm", NOW + 5 * DAY, NOW + 15 * DAY)]
    assert versions(project, key) == before
    assert {path: path.read_bytes() for path in lists} == lists
    (staging,) = upkeep.overview(project, ["staging"], means(key))
    assert staging.signed < NOW + DAY


def test_a_new_key_only_when_told(project: Path, key: Key, tmp_path: Path) -> None:
    other = small_release.key(tmp_path / "keys", "other")
    with pytest.raises(ReleaseError, match="which its hosts trust"):
        upkeep.resign(project, ["production"], means(other, other.public, key.public))
    with pytest.raises(VerificationError, match="no trusted key"):
        upkeep.resign(project, ["production"], means(other), new_key=True)
    (done,) = upkeep.resign(project, ["production"], means(other, other.public, key.public), new_key=True)
    assert done.signer == other.public.keyid
    assert upkeep.overview(project, ["staging"], means(key))[0].signer == key.public.keyid


def test_only_what_no_suite_and_no_host_needs_goes(project: Path, key: Key) -> None:
    (staging,) = upkeep.prune(project, ["staging"], means(key), keep=2, clock=lambda: NOW + 60)
    assert [one.version.split("-")[0] for _, one in staging.unlisted] == ["1.2.0", "1.1.0", "1.0.0"]
    assert versions(project, key) == {"staging": ["1.3.0", "1.4.0"], "production": ["1.0.0", "1.1.0"]}
    assert staging.removed == ()
    assert len(staging.waiting) == 3
    assert pool(project) == ["1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0"]

    for path in project.glob("apt/dists/*/main/*/by-hash/SHA256/*"):
        os.utime(path, (NOW, NOW))
    (later,) = upkeep.prune(project, ["staging"], means(key), keep=2, clock=lambda: NOW + 31 * DAY)
    assert [name.split("_")[1].split("-")[0] for name in later.removed] == ["1.2.0"]
    assert pool(project) == ["1.0.0", "1.1.0", "1.3.0", "1.4.0"]
    assert sorted(path.name for path in project.glob("apt/releases/tinyapp/*")) == ["1.0", "1.1", "1.3", "1.4"]


def test_at_once(project: Path, key: Key) -> None:
    (trial,) = upkeep.prune(project, ["staging"], means(key), keep=1, at_once=True, dry_run=True)
    assert pool(project) == ["1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0"]
    (done,) = upkeep.prune(project, ["staging"], means(key), keep=1, at_once=True, clock=lambda: NOW + 60)
    assert done == trial
    assert pool(project) == ["1.0.0", "1.1.0", "1.4.0"]
    assert done.freed > 0


def test_a_dry_run_changes_nothing(project: Path, key: Key) -> None:
    before = [(path, path.stat().st_mtime_ns) for path in sorted(project.rglob("*")) if path.is_file()]
    upkeep.prune(project, [], means(key), keep=1, dry_run=True)
    assert [(path, path.stat().st_mtime_ns) for path in sorted(project.rglob("*")) if path.is_file()] == before


def test_other_names_are_refused(project: Path, key: Key) -> None:
    for name in ("shelf", "nowhere"):
        with pytest.raises(ConfigurationError, match=f"no apt repository is called '{name}'"):
            upkeep.overview(project, [name], means(key))


def prune_in(folder: Path, secret: str) -> None:
    upkeep.prune(folder, ["staging"], means(keys.load(Path(secret), bytes)), keep=1, at_once=True, clock=_clock)


def resign_in(folder: Path, secret: str) -> None:
    upkeep.resign(folder, [], means(keys.load(Path(secret), bytes)), clock=_clock)


def _clock() -> float:
    return NOW + 60


@pytest.mark.parametrize("work", [prune_in, resign_in])
def test_killed_at_every_change(work: Callable[[Path, str], None], tmp_path: Path, told: Told) -> None:
    """Every deb that a suite lists is there; again, and it is done."""
    key = small_release.key(tmp_path / "keys")
    first, number, crashes = made(tmp_path / "first", key), itertools.count(), Crashes()

    def fresh() -> Path:
        return shutil.copytree(first, tmp_path / "crashed" / str(next(number)))

    secret = str(tmp_path / "keys/team.key")
    for folder in crashes.each(work, secret, below=fresh):
        found = upkeep.overview(folder, [], means(key))
        assert {one.destination for one in found} == {"staging", "production"}
        for one in found:
            assert all((folder / "apt" / package.filename).is_file() for package in one.packages)
        work(folder, secret)
        assert versions(folder, key)["production"] == ["1.0.0", "1.1.0"]
        assert work is resign_in or (versions(folder, key)["staging"], pool(folder)) == (
            ["1.4.0"],
            ["1.0.0", "1.1.0", "1.4.0"],
        )
    told(f"{work.__name__}: killed at each change of the disk", crashes.count)
    assert crashes.count > 20
