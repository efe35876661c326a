"""What a lock needs, and for what; a base image that comes back; bringing and keeping all of it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from buildonce import bundling, inputs, workbench
from buildonce import lock as locks
from buildonce import project as projects
from buildonce import target as targets
from buildonce.errors import ConfigurationError, LockError, ReleaseError
from buildonce.oci import foreign
from buildonce.system import files
from buildonce.system.console import SilentProgress
from buildonce.vault import Contents, Input, configured
from buildonce.vault.folder import FolderVault
from tests.lock.conftest import LIBC, index, user  # noqa: F401 - fixtures
from tests.oci.test_foreign import make as make_image

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.system import System
    from tests.lock.conftest import User
    from tests.lock.index import Index

BOOKWORM = targets.load("debian-12")


@pytest.fixture
def locked(index: Index, user: User) -> User:  # noqa: F811
    index.add("plain", "1.0")
    index.add_sdist("built", "1.0")
    user.project("plain", "built")
    user.lock()
    return user


def needs(user: User) -> dict[str, tuple[str, ...]]:  # noqa: F811
    return {one.file.filename: one.by for one in inputs.of(user.read(), [BOOKWORM])}


def offline(system: System) -> System:
    return dataclasses.replace(system, offline=True)


def test_every_file_says_what_needs_it(locked: User) -> None:
    found = needs(locked)
    assert found["plain-1.0-py3-none-any.whl"] == ("debian-12: wheelhouse",)
    assert found["built-1.0.tar.gz"] == ("debian-12: wheelhouse",)
    assert found[LIBC.file.filename] == ("debian-12: OS packages",)
    assert found["hatchling-1.27-py3-none-any.whl"] == ("debian-12: build of the project",)
    assert found["setuptools-80.0-py3-none-any.whl"][0] == "debian-12: build of built"
    assert found["pex-2.105.2-py3-none-any.whl"] == ("debian-12: tools",)
    assert list(found) == sorted(found)


def test_offline_all_that_is_missing_is_told(locked: User) -> None:
    needed = inputs.of(locked.read(), [BOOKWORM])
    with pytest.raises(ReleaseError) as caught:
        inputs.bring(needed, offline(locked.system))
    assert caught.value.exit_code == 1
    head, *rows = caught.value.problems
    here = [one for one in needed if locked.system.store.file(one.file.sha256, one.file.filename)]
    assert head.message == f"{len(needed) - len(here)} files are neither in the store nor in a vault"
    told = {row.message: row.where for row in rows}
    assert told == {
        f"{one.file.filename} sha256:{one.file.sha256}": ", ".join(one.by) for one in needed if one not in here
    }


def test_the_listing_does_not_depend_on_the_machine(locked: User) -> None:
    project, lock = projects.read(locked.root), locked.read()
    found = inputs.contents(project, lock, locked.system)
    assert {one.name for one in found.inputs} == {*needs(locked), *locks.FILES}
    assert str(locked.root).encode() not in found.listing
    assert found.listing == inputs.contents(project, lock, locked.system).listing


@pytest.mark.parametrize("name", ["debian-12", "debian-12-arm64"])
def test_they_are_what_a_build_fetches(name: str, index: Index, user: User) -> None:  # noqa: F811
    """With the packages of the build root, where that is another target's."""
    index.add("plain", "1.0")
    user.project("plain", targets=(name,))
    target, lock = targets.load(name), user.lock()
    found = {one.file.sha256: one.by for one in inputs.of(lock, [target])}
    assert found.keys() == {file.sha256 for file in workbench.locked_files(target, lock)}
    assert found.keys() >= {pin.file.sha256 for pin in lock.debs(target.builder)}
    assert (f"{name}: build root" in found[LIBC.file.sha256]) == (target.build_on is not None)


def test_those_of_a_target_of_the_projects_own_are_kept_too(index: Index, user: User) -> None:  # noqa: F811
    index.add("plain", "1.0")
    user.project("plain")
    path = user.root / "pyproject.toml"
    table = "[tool.release.targets.corporate-12]\nlike = 'debian-12'\n"
    path.write_text(path.read_text().replace("[tool.release]\ntargets = ['debian-12']\n", table))
    lock = user.lock()
    found = inputs.contents(projects.read(user.root), lock, user.system)
    assert lock.targets == ("corporate-12",)
    assert "corporate-12: wheelhouse" in {by for one in found.inputs for by in one.needed_by}


def test_a_pinned_base_image_comes_back_out_of_the_vault(locked: User, tmp_path: Path) -> None:
    digest, _ = make_image(tmp_path / "base.tar")
    lock = locked.read()
    setting = f"images/base.tar@sha256:{digest}"
    project = with_base(locked, setting)
    path = tmp_path / "base.tar"
    base = Input(name="base.tar", sha256=files.sha256_file(path), size=path.stat().st_size, path=path)
    (tmp_path / "vault").mkdir()
    vault = FolderVault(tmp_path / "vault")
    vault.keep(Contents(lock=lock.files, inputs=(base,)), SilentProgress(), thorough=False)
    path.unlink()
    with pytest.raises(ConfigurationError, match="is not on this machine"):
        foreign.read(setting, locked.root, BOOKWORM, locked.system.store)

    system = dataclasses.replace(locked.system, vaults=(vault,))
    inputs.require(project, lock, (), system)

    found = foreign.read(setting, locked.root, BOOKWORM, locked.system.store)
    assert found is not None
    assert (found.name, found.digest) == ("base.tar", digest)
    assert "base.tar" in {one.name for one in inputs.contents(project, lock, system).inputs}
    assert not (locked.root / "images").exists()


def test_a_base_image_that_is_not_pinned_is_not_taken_from_anywhere(locked: User, tmp_path: Path) -> None:
    (tmp_path / "vault").mkdir()
    system = dataclasses.replace(locked.system, vaults=(FolderVault(tmp_path / "vault"),))
    inputs.require(with_base(locked, "base.tar"), locked.read(), (), system)
    assert not (locked.system.store.root / "bases").exists()


def with_base(user: User, setting: str) -> projects.Project:  # noqa: F811
    project = projects.read(user.root)
    image = project.settings.image.model_copy(update={"base": setting})
    return dataclasses.replace(project, settings=project.settings.model_copy(update={"image": image}))


def test_the_environment_goes_before_the_configuration(
    locked: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = projects.read(locked.root)
    settings = project.settings.model_copy(update={"vault": ("inputs.tar", "/srv/vault")})
    project = dataclasses.replace(project, settings=settings)
    monkeypatch.setenv("BUILDONCE_VAULT", f"oci://registry.example.org/v {locked.root / 'inputs.tar'}")
    assert [vault.name for vault in configured(project, locked.system.net)] == [
        "oci://registry.example.org/v",
        str(locked.root / "inputs.tar"),
        "/srv/vault",
    ]


def test_bundling_asks_where_to(locked: User, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nothing says where to keep the inputs") as caught:
        bundling.make(locked.root, locked.system)
    assert "--out" in caught.value.problems[0].hint
    with pytest.raises(ConfigurationError, match="can only be read"):
        bundling.make(locked.root, locked.system, to=["https://example.org/v"])
    with pytest.raises(ConfigurationError, match="there is no release"):
        bundling.make(locked.root, locked.system, release=tmp_path, out=tmp_path / "x.tar")


def test_nothing_is_bundled_without_a_lock(locked: User, tmp_path: Path) -> None:
    (locked.root / "pylock.toml").unlink()
    with pytest.raises(LockError):
        bundling.make(locked.root, locked.system, out=tmp_path / "x.tar")
    assert not (tmp_path / "x.tar").exists()
