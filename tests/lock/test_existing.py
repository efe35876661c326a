"""A lock of another tool is the truth: its versions and hashes are kept, what disagrees is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tomli_w

from buildonce import target as targets
from buildonce.errors import LockError
from tests.lock.index import serving

if TYPE_CHECKING:
    from tests.lock.conftest import User
    from tests.lock.index import Index

BOOKWORM = targets.load("debian-12")
UV = str(Path(sys.executable).with_name("uv"))
CP311 = "cp311-cp311-manylinux_2_28_x86_64"


@pytest.fixture
def filled(index: Index, user: User) -> User:
    """An index with a newer version of everything than the user's lock names."""
    for version in ("1.0", "2.0"):
        index.add("fast", version, tags=(CP311, "py3-none-any"), requires=["plain"])
        index.add_sdist("fast", version, requires=["plain"])
        index.add("plain", version)
    index.add("tester", "1.0")
    user.project("fast", more='[dependency-groups]\ndev = ["tester"]')
    return user


def versions(user: User) -> list[tuple[str, str]]:
    return [(one.name, one.version) for one in user.lock().select(BOOKWORM)]


def problems(user: User) -> list[str]:
    before = user.files()
    with pytest.raises(LockError) as caught:
        user.lock()
    assert user.files() == before
    return [problem.message for problem in caught.value.problems]


class TestUvLock:
    @pytest.fixture
    def locked(self, filled: User) -> User:
        path = filled.root / "pyproject.toml"
        old = path.read_text()
        path.write_text(
            old.replace("['fast']", "['fast', 'plain']").replace(
                "[tool.rel", "[tool.uv]\nconstraint-dependencies = ['fast<2', 'plain<2']\n[tool.rel"
            )
        )
        subprocess.run([UV, "lock", "--quiet", "--python", sys.executable], cwd=filled.root, check=True)
        return filled

    def test_its_versions_are_kept_without_development_groups(self, locked: User) -> None:
        before = (locked.root / "uv.lock").read_bytes()
        assert versions(locked) == [("fast", "1.0"), ("plain", "1.0")]
        assert (locked.root / "uv.lock").read_bytes() == before

    def test_a_stale_one_is_not_resolved_again(self, locked: User) -> None:
        path = locked.root / "pyproject.toml"
        path.write_text(path.read_text().replace("'plain']\n[", "'plain', 'tester']\n["))
        assert problems(locked) == ["uv.lock does not fit pyproject.toml any more"]

    def test_when_it_changes_ours_is_stale(self, locked: User) -> None:
        locked.lock()
        path = locked.root / "uv.lock"
        path.write_text(path.read_text() + "\n")
        with pytest.raises(LockError, match=r"existing-lock changed \(now uv\.lock [0-9a-f]{12}…; before uv\.lock"):
            locked.read()

    def test_a_member_of_a_workspace_is_no_file(self, locked: User) -> None:
        (locked.root / "lib").mkdir()
        (locked.root / "lib" / "pyproject.toml").write_text('[project]\nname = "lib"\nversion = "1"\n')
        path = locked.root / "pyproject.toml"
        path.write_text(
            path.read_text().replace("'plain']", "'plain', 'lib']") + '[tool.uv.sources]\nlib = { path = "lib" }\n'
        )
        assert problems(locked) == ["lib comes from path = 'lib': a lock can hold only files with a sha256"]


class TestRequirements:
    def lines(self, index: Index, *pins: tuple[str, str], bogus: str = "") -> str:
        text = "# made by pip-compile\n--require-hashes\n"
        for name, version in pins:
            hashes = ["0" * 64] if name == bogus else index.hashes(name, version)
            text += f"{name}=={version} \\\n" + " \\\n".join(f"    --hash=sha256:{digest}" for digest in hashes) + "\n"
            text += "    # via orders\n"
        return text

    def test_versions_and_hashes_are_kept(self, index: Index, filled: User) -> None:
        filled.write("requirements.txt", self.lines(index, ("fast", "1.0"), ("plain", "1.0")))
        assert versions(filled) == [("fast", "1.0"), ("plain", "1.0")]
        hashes = {wheel["hashes"]["sha256"] for package in filled.toml()["packages"] for wheel in package["wheels"]}
        assert hashes <= {*index.hashes("fast", "1.0"), *index.hashes("plain", "1.0")}

    def test_only_files_that_it_names_count(self, index: Index, filled: User) -> None:
        generic = index.hash("fast", "fast-1.0-py3-none-any.whl")
        filled.write("requirements.txt", f"fast==1.0 --hash=sha256:{generic}\n" + self.lines(index, ("plain", "1.0")))
        (fast, _) = filled.lock().select(BOOKWORM)
        assert fast.file.filename == "fast-1.0-py3-none-any.whl"  # though the compiled wheel would fit better
        assert "sdist" not in filled.toml()["packages"][0]

    def test_a_bogus_hash_is_not_replaced_by_that_of_the_index(self, index: Index, filled: User) -> None:
        """What `uv pip compile --generate-hashes` does with it: exit code 0 and the index's own hashes."""
        filled.write("requirements.txt", self.lines(index, ("fast", "1.0"), ("plain", "1.0"), bogus="plain"))
        assert problems(filled) == ["plain 1.0: no file on the index has a sha256 that requirements.txt names"]

    def test_a_file_that_was_changed_on_the_index_is_refused(self, index: Index, filled: User) -> None:
        filled.write("requirements.txt", self.lines(index, ("fast", "1.0"), ("plain", "1.0")))
        index.put("plain", "plain-1.0-py3-none-any.whl", b"something else")
        assert problems(filled) == ["plain 1.0: no file on the index has a sha256 that requirements.txt names"]

    def test_nothing_is_downloaded_or_run_before_the_hashes_are_compared(self, index: Index, filled: User) -> None:
        index.put("evil", "evil-1.0.tar.gz", b"not even an archive")
        filled.write("requirements.txt", "evil==1.0 --hash=sha256:" + "0" * 64 + "\n")
        assert problems(filled) == ["evil 1.0: no file on the index has a sha256 that requirements.txt names"]
        assert [path for path in index.asked if path.endswith(".tar.gz")] == []

    def test_a_pin_that_fits_no_target_is_named_with_its_wheels(self, index: Index, filled: User) -> None:
        index.add("closed", "1.0", tags=("cp311-cp311-manylinux_2_39_x86_64",))
        filled.write("requirements.txt", self.lines(index, ("closed", "1.0")))
        assert problems(filled) == ["closed 1.0 has no wheel for debian-12 and no sdist to compile"]

    def test_a_pin_for_another_machine_is_told_in_uvs_words(self, index: Index, filled: User) -> None:
        index.add("closed", "1.0", tags=("cp311-cp311-manylinux_2_28_aarch64",))
        filled.write("requirements.txt", self.lines(index, ("closed", "1.0")))
        with pytest.raises(LockError, match=r"no set of versions fits requirements\.txt") as caught:
            filled.lock()
        assert "closed" in caught.value.log

    def test_md5_only_and_no_hash_are_refused_all_at_once(self, index: Index, filled: User) -> None:
        filled.write(
            "requirements.txt",
            f"fast==1.0 --hash=md5:{'0' * 32}\nplain==1.0\ntester==1.0 --hash=sha256:12\n",
        )
        assert problems(filled) == [
            "fast 1.0 has only md5; a sha256 is required",
            "plain 1.0 has no hash; a sha256 is required",
            "tester 1.0 has a malformed sha256; a sha256 is required",
        ]

    def test_what_is_no_pin_is_named_with_its_line(self, index: Index, filled: User) -> None:
        digest = "--hash=sha256:" + "0" * 64
        filled.write(
            "requirements.txt",
            f"fast>=1 {digest}\n-e ./lib\n-r other.txt\n./lib.whl {digest}\nplain==1.* {digest}\n",
        )
        with pytest.raises(LockError) as caught:
            filled.lock()
        assert [problem.where for problem in caught.value.problems] == [
            f"requirements.txt:{line}" for line in range(1, 6)
        ]

    def test_it_is_stale_when_pyproject_asks_for_something_else(self, index: Index, filled: User) -> None:
        filled.project("fast>=2", "tester")
        filled.write("requirements.txt", self.lines(index, ("fast", "1.0"), ("plain", "1.0")))
        assert problems(filled) == [
            "requirements.txt is stale: pyproject.toml asks for fast>=2, the lock has version 1.0",
            "requirements.txt is stale: pyproject.toml asks for tester, the lock does not have it",
        ]

    def test_without_hashes_it_is_no_lock(self, filled: User) -> None:
        filled.write("requirements.txt", "fast==1.0\n")
        assert versions(filled) == [("fast", "2.0"), ("plain", "2.0")]

    def test_the_index_that_it_names_is_asked(
        self, index: Index, filled: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("UV_DEFAULT_INDEX", "")
        filled.project("plain", build=(), more="[tool.uv]\nno-index = false")
        filled.write("requirements.txt", f"--index-url {index.url}\n" + self.lines(index, ("plain", "1.0")))
        monkeypatch.setattr("buildonce.lock.build.make", lambda *args: {})
        filled.lock()
        assert "/simple/plain/" in index.asked


class TestPoetry:
    # What poetry 2.5.1 computes for these two projects.
    MODERN = "22e4d63fbe1dfb505dafcf2964722fd0afd02a0f4a19f9a407c7cd3adb981fdc"
    MODERN_BEFORE_GROUPS = "c7e5eaf64baa066cb876e31e5d4877ead16e168f4713f1aab6edb2719028434a"
    CLASSIC = "a769f814c4e967025e171f1fa67e983f128e12ed7ea589e32fa2d0a65d202a3f"
    CLASSIC_PROJECT = """[tool.poetry]
name = "orders"
version = "1.0"
description = ""
authors = ["Ada <ada@example.org>"]
[tool.poetry.dependencies]
python = "^3.11"
fast = "^1.0"
[tool.poetry.group.dev.dependencies]
tester = "*"
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[tool.release]
targets = ["debian-12"]
"""

    def write(self, user: User, index: Index, content_hash: str, version: str = "2.1", **source: str) -> None:
        def package(name: str, group: str, **more: object) -> dict[str, object]:
            files = [{"file": "any", "hash": f"sha256:{digest}"} for digest in index.hashes(name, "1.0")]
            return {
                "name": name,
                "version": "1.0",
                "optional": False,
                "groups": [group],
                "files": files,
                **more,
            }

        packages = [
            package("fast", "main", **({"source": source} if source else {})),
            package("plain", "main", markers="python_version < '3.12'"),
            package("tester", "dev"),
        ]
        metadata = {"lock-version": version, "python-versions": ">=3.11", "content-hash": content_hash}
        user.write("poetry.lock", tomli_w.dumps({"package": packages, "metadata": metadata}))

    @pytest.mark.parametrize("content_hash", [MODERN, MODERN_BEFORE_GROUPS])
    def test_versions_and_hashes_are_kept(self, index: Index, filled: User, content_hash: str) -> None:
        self.write(filled, index, content_hash)
        assert versions(filled) == [("fast", "1.0"), ("plain", "1.0")]

    def test_a_project_in_poetrys_own_table(self, index: Index, filled: User) -> None:
        filled.write("pyproject.toml", self.CLASSIC_PROJECT)
        self.write(filled, index, self.CLASSIC)
        assert versions(filled) == [("fast", "1.0"), ("plain", "1.0")]

    def test_a_stale_one_is_refused(self, index: Index, filled: User) -> None:
        filled.write("pyproject.toml", self.CLASSIC_PROJECT.replace("^1.0", "^2.0"))
        self.write(filled, index, self.CLASSIC)
        assert problems(filled) == ["poetry.lock does not fit pyproject.toml any more"]

    def test_one_of_poetry_1_names_the_command_that_helps(self, index: Index, filled: User) -> None:
        self.write(filled, index, self.MODERN, version="2.0")
        assert "made by a poetry before 2.0" in problems(filled)[0]

    def test_a_package_from_its_own_index_is_looked_for_nowhere_else(self, index: Index, filled: User) -> None:
        with serving() as private:
            private.add("fast", "1.0", tags=("py3-none-any",), requires=["plain"])
            self.write(
                filled,
                index,
                self.MODERN,
                type="legacy",
                url=private.url.replace("http://", "http://ada:secret@"),
                reference="corp",
            )
            (fast, _) = filled.lock().select(BOOKWORM)
            assert fast.file.url.startswith(private.url)
        assert "/simple/fast/" not in index.asked
        assert "secret" not in (filled.root / "pylock.toml").read_text()

    def test_a_package_from_git_is_refused(self, index: Index, filled: User) -> None:
        self.write(filled, index, self.MODERN, type="git", url="https://git.example/fast")
        assert problems(filled) == ["fast 1.0 comes from git: a lock can hold only files with a sha256"]


class TestPdm:
    def write(self, user: User, index: Index, *strategy: str) -> None:
        packages = [
            {
                "name": name,
                "version": "1.0",
                "groups": [group],
                "files": [{"file": "any", "hash": f"sha256:{digest}"} for digest in index.hashes(name, "1.0")],
            }
            for name, group in (("fast", "default"), ("plain", "default"), ("tester", "dev"))
        ]
        metadata = {"groups": ["default", "dev"], "strategy": list(strategy), "lock_version": "4.5.1"}
        user.write("pdm.lock", tomli_w.dumps({"metadata": metadata, "package": packages}))

    def test_versions_and_hashes_are_kept(self, index: Index, filled: User) -> None:
        self.write(filled, index, "inherit_metadata")
        assert versions(filled) == [("fast", "1.0"), ("plain", "1.0")]

    def test_one_that_does_not_say_what_is_needed_names_the_command_that_helps(
        self, index: Index, filled: User
    ) -> None:
        self.write(filled, index)
        assert "it has no strategy inherit_metadata" in problems(filled)[0]


class TestPylock:
    def foreign(self, index: Index, *more: dict[str, object]) -> str:
        def file(name: str, filename: str) -> dict[str, object]:
            return {"url": f"{index.url}{name}/{filename}", "hashes": {"sha256": index.hash(name, filename)}}

        mac = {
            "url": "http://127.0.0.1:1/fast-1.0-cp311-cp311-macosx_11_0_arm64.whl",
            "hashes": {"sha256": "0" * 64},
        }
        fast = {"name": "fast", "version": "1.0", "wheels": [file("fast", f"fast-1.0-{CP311}.whl"), mac]}
        plain = {"name": "plain", "version": "1.0", "wheels": [file("plain", "plain-1.0-py3-none-any.whl")]}
        document = {
            "lock-version": "1.0",
            "created-by": "pip",
            "packages": [fast, plain, *more],
            "tool": {"theirs": {"a": 1}},
        }
        return tomli_w.dumps(document)

    def test_every_pin_is_kept_now_and_the_next_time(self, index: Index, filled: User) -> None:
        filled.write("pylock.toml", self.foreign(index))
        assert versions(filled) == [("fast", "1.0"), ("plain", "1.0")]
        first = filled.files()
        assert versions(filled) == [
            ("fast", "1.0"),
            ("plain", "1.0"),
        ]  # not taken for one that uv may resolve again
        assert filled.files() == first

    def test_it_still_serves_the_machines_that_are_no_targets(self, index: Index, filled: User) -> None:
        filled.write("pylock.toml", self.foreign(index))
        filled.lock()
        document = filled.toml()
        assert [len(package["wheels"]) for package in document["packages"]] == [2, 1]
        assert document["tool"]["theirs"] == {"a": 1}
        assert document["tool"]["buildonce"]["origin"] == "pylock.toml"
        assert "/fast-1.0-cp311-cp311-macosx_11_0_arm64.whl" not in index.asked

    def test_a_folder_in_it_is_refused(self, index: Index, filled: User) -> None:
        filled.write(
            "pylock.toml",
            self.foreign(index, {"name": "lib", "directory": {"path": "lib", "editable": True}}),
        )
        assert problems(filled) == ["lib comes from a folder of one machine: a lock can hold only files with a sha256"]

    def test_it_is_stale_when_pyproject_asks_for_more(self, index: Index, filled: User) -> None:
        filled.project("fast", "tester")
        filled.write("pylock.toml", self.foreign(index))
        assert problems(filled) == ["pylock.toml is stale: pyproject.toml asks for tester, the lock does not have it"]


def test_a_member_of_a_uv_workspace_is_not_resolved_anew(filled: User) -> None:
    above = filled.root.parent
    (above / "uv.lock").write_text("version = 1\n")
    (above / "pyproject.toml").write_text('[tool.uv.workspace]\nmembers = ["ord*"]\n')
    assert problems(filled) == ["this project is a member of a uv workspace, whose lock is above it"]
    (above / "pyproject.toml").write_text('[tool.uv.workspace]\nmembers = ["other"]\n')
    filled.lock()


def test_two_locks_of_other_tools_cannot_both_be_the_truth(filled: User) -> None:
    filled.write("uv.lock", "")
    filled.write("pdm.lock", "")
    assert problems(filled) == ["the project has uv.lock and pdm.lock: only one can be the truth"]
