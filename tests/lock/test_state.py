"""Reading a lock: missing, foreign, stale, cut in half, without sha256: each refused with what mends it."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from buildonce import target as targets
from buildonce.errors import LockError
from buildonce.lock import FILES
from buildonce.system.files import sha256_file
from tests.lock.conftest import LIBC

if TYPE_CHECKING:
    from tests.lock.conftest import User
    from tests.lock.index import Index

BOOKWORM = targets.load("debian-12")


@pytest.fixture
def locked(index: Index, user: User) -> User:
    index.add("plain", "1.0")
    index.add_sdist("plain", "1.0")
    user.project("plain")
    user.lock()
    return user


def refused(user: User) -> LockError:
    with pytest.raises(LockError) as caught:
        user.read()
    assert caught.value.exit_code == 3
    return caught.value


def change(user: User, name: str, edit: Any) -> None:
    """Edit a file of the lock, and make the set look whole again."""
    data = user.toml(name)
    edit(data)
    (user.root / name).write_text(tomli_w.dumps(data))
    if name != "pylock.toml":
        main = user.toml()
        main["tool"]["buildonce"]["files"][name] = sha256_file(user.root / name)
        (user.root / "pylock.toml").write_text(tomli_w.dumps(main))


def test_what_was_made_is_what_is_read(locked: User) -> None:
    lock = locked.read()
    assert [one.name for one in lock.select(BOOKWORM)] == ["plain"]
    assert lock.debs(BOOKWORM) == (LIBC,)
    assert list(lock.files) == list(FILES)
    assert lock.files["pylock.toml"] == sha256_file(locked.root / "pylock.toml")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(locked: User, name: str) -> None:
    (locked.root / name).unlink()
    error = refused(locked)
    assert name in str(error)
    assert "release lock" in error.problems[0].hint


def test_a_pylock_of_another_tool(locked: User) -> None:
    change(locked, "pylock.toml", lambda data: data.update({"created-by": "pip", "tool": {}}))
    assert "pylock.toml was made by pip" in str(refused(locked))


@pytest.mark.parametrize(
    ("change_", "told"),
    [
        ({"dependencies": ("plain", "extra")}, "dependencies changed (now extra)"),
        ({"dependencies": ()}, "dependencies changed (before plain)"),
        (
            {"dependencies": ("plain",), "requires_python": ">=3.10"},
            "requires-python changed (now >=3.10; before >=3.11)",
        ),
        (
            {"dependencies": ("plain",), "build": ("hatchling>=1",)},
            "build-requires changed (now hatchling>=1; before hatchling)",
        ),
        (
            {"dependencies": ("plain",), "targets": ("debian-12", "debian-13")},
            "targets changed (now debian-13",
        ),
        (
            {"dependencies": ("plain",), "more": '[tool.release.build.x]\napt = ["libpq-dev"]'},
            "apt changed (now libpq-dev)",
        ),
        ({"dependencies": ("plain",), "more": '[tool.uv]\nprerelease = "allow"'}, "uv-settings changed (now"),
    ],
)
def test_a_stale_lock_names_what_changed(locked: User, change_: dict[str, Any], told: str) -> None:
    dependencies = change_.pop("dependencies")
    locked.project(*dependencies, **change_)
    error = refused(locked)
    assert f"the lock is stale: {told}" in str(error)
    assert len(error.problems) == 1
    assert error.problems[0].hint == "run `release lock` and commit the result"


def test_all_that_changed_is_named_at_once(locked: User) -> None:
    locked.project("plain", "extra", requires_python=">=3.10")
    assert len(refused(locked).problems) == 2


def test_a_lock_of_another_tool_that_came_later_makes_ours_stale(locked: User) -> None:
    locked.write("uv.lock", "version = 1\n")
    assert "existing-lock changed (now uv.lock" in str(refused(locked))


def test_what_does_not_concern_the_lock_does_not_make_it_stale(locked: User) -> None:
    locked.project("plain", more='[tool.ruff]\nline-length = 99\n[tool.release.service]\ncommand = "orders serve"')
    locked.read()


@pytest.mark.parametrize("name", ["pylock.build.toml", "debs.lock.toml"])
def test_files_of_two_locks_do_not_go_together(locked: User, name: str) -> None:
    with (locked.root / name).open("a") as file:
        file.write("\n# merged by hand\n")
    error = refused(locked)
    assert str(error) == f"{name} is not the file that this pylock.toml was made with"


def test_entries_with_md5_or_nothing_are_refused_all_at_once(locked: User) -> None:
    def spoil(data: dict[str, Any]) -> None:
        data["packages"][0]["sdist"]["hashes"] = {"md5": "d41d8cd98f00b204e9800998ecf8427e"}
        data["packages"][0]["wheels"][0]["hashes"] = {}

    change(locked, "pylock.toml", spoil)
    found = [problem.message for problem in refused(locked).problems]
    assert found == [
        "plain 1.0: plain-1.0-py3-none-any.whl has no hash; a sha256 is required",
        "plain 1.0: plain-1.0.tar.gz has only md5; a sha256 is required",
    ]


@pytest.mark.parametrize("value", ["", "0" * 63, "Z" * 64, "0" * 64 + "\n"])
def test_a_malformed_sha256_is_none(locked: User, value: str) -> None:
    change(
        locked,
        "pylock.build.toml",
        lambda data: data["packages"][0]["wheels"][0].update(hashes={"sha256": value}),
    )
    assert "has a malformed sha256" in str(refused(locked))


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"directory": {"path": "../lib", "editable": True}}, "comes from a folder of one machine"),
        (
            {"vcs": {"type": "git", "url": "https://git.example/x", "commit-id": "0" * 40}},
            "comes from a version control system",
        ),
    ],
)
def test_what_is_no_file_is_refused(locked: User, entry: dict[str, Any], told: str) -> None:
    change(locked, "pylock.toml", lambda data: data["packages"].append({"name": "lib", "version": "1", **entry}))
    assert f"lib 1 {told}" in str(refused(locked))


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ({"url": "https://ada:secret@index.example/x.tar.gz"}, "holds a password"),
        ({"url": "file:///srv/x-1.tar.gz"}, "lies in a folder of one machine"),
        ({"path": "/srv/x-1.tar.gz"}, "lies in a folder of one machine"),
    ],
)
def test_an_address_of_one_machine_or_with_a_password_is_refused(locked: User, file: dict[str, str], told: str) -> None:
    entry = {"name": "x", "version": "1", "sdist": {**file, "hashes": {"sha256": "0" * 64}}}
    change(locked, "pylock.toml", lambda data: data["packages"].append(entry))
    error = refused(locked)
    assert told in str(error)
    assert "secret" not in str(error.problems)


def test_conflict_marks_of_a_merge(locked: User) -> None:
    path = locked.root / "pylock.toml"
    path.write_text("<<<<<<< HEAD\n" + path.read_text())
    assert "pylock.toml cannot be read" in str(refused(locked))


def test_what_breaks_the_specification(locked: User) -> None:
    change(locked, "pylock.toml", lambda data: data.update({"lock-version": "9.0"}))
    assert "pylock.toml is not a valid lock" in str(refused(locked))


def test_a_target_that_the_lock_is_not_made_for(locked: User) -> None:
    with pytest.raises(LockError, match="not made for debian-13, only for debian-12"):
        locked.read().select(targets.load("debian-13"))


def test_a_target_that_became_another_one(locked: User, index: Index) -> None:
    """The same name in the list, and other facts behind it: apt would answer something else."""
    project = locked.root / "pyproject.toml"
    table = '[tool.release.targets.debian-12]\ntoolchain = ["cmake"]\n'
    project.write_text(project.read_text().replace("targets = ['debian-12']", table))
    assert str(refused(locked)).startswith("the lock is stale: targets changed (now debian-12 ")
    assert [one.name for one in locked.lock().select(BOOKWORM)] == ["plain"]
    project.write_text(project.read_text().replace("cmake", "ninja-build"))
    assert str(refused(locked)).startswith("the lock is stale: targets changed")


def test_a_relative_path_lies_beside_the_lock(locked: User) -> None:
    def move(data: dict[str, Any]) -> None:
        (wheel,) = data["packages"][0]["wheels"]
        wheel["path"] = "wheels/plain-1.0-py3-none-any.whl"
        del wheel["url"]

    change(locked, "pylock.toml", move)
    (plain,) = locked.read().select(BOOKWORM)
    assert plain.file.path == locked.root / "wheels/plain-1.0-py3-none-any.whl"
    assert plain.file.url == ""


def test_the_files_are_toml_that_other_tools_read(locked: User) -> None:
    for name in FILES:
        tomllib.loads((locked.root / name).read_text())


@pytest.mark.parametrize("value", [0, "", "x", True, [1], {"a": 1}])
@pytest.mark.parametrize(
    "path",
    [
        ("packages",),
        ("packages", 0),
        ("packages", 0, "wheels"),
        ("packages", 0, "wheels", 0),
        ("packages", 0, "wheels", 0, "hashes"),
        ("packages", 0, "sdist"),
        ("tool",),
        ("tool", "buildonce", "targets"),
        ("tool", "buildonce", "inputs"),
        ("tool", "buildonce", "inputs", "targets"),
        ("tool", "buildonce", "files"),
        ("tool", "buildonce", "files", "pylock.build.toml"),
    ],
)
def test_a_value_of_another_type(locked: User, path: tuple[Any, ...], value: object) -> None:
    def spoil(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    change(locked, "pylock.toml", spoil)
    for problem in refused(locked).problems:
        assert problem.where
        assert problem.hint
