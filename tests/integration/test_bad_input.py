"""Whatever a user gets wrong ends in one clear error with the next step, its exit code, and nothing half-written."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.version import Version

from buildonce import version
from tests import wheelmaker
from tests.integration import tiny

if TYPE_CHECKING:
    from tests.integration.tiny import User

CONFIGURATION, VERIFICATION = 3, 4
LOCK_IT = "run `release lock` and commit the result"


# -- the project --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["lock", "build", "plan"])
def test_no_project(user: User, command: str) -> None:
    ended = user.run(command)
    assert ended.code == CONFIGURATION
    assert "pyproject.toml" in ended.error
    assert ended.hint


def test_everything_wrong_in_the_configuration_is_told_at_once(user: User) -> None:
    user.project(more='target = ["debian-12"]\n[tool.release.service]\nport = "eighty"\nhelth = "/health"\n')
    user.commit()
    ended = user.run("build")
    assert ended.code == CONFIGURATION
    assert len(ended.errors) == 4  # and the command of the service is missing
    for part in ("'target'", "did you mean 'targets'?", "port", "'helth'", "did you mean 'health'?"):
        assert part in ended.stderr, part


def test_unknown_target(user: User) -> None:
    user.project(more='targets = ["debain-12"]\n')
    user.commit()
    ended = user.run("build")
    assert (ended.code, ended.error) == (CONFIGURATION, "unknown target 'debain-12'")
    assert ended.hint == "did you mean 'debian-12'?"


def test_target_that_is_not_the_projects(user: User) -> None:
    user.ready()
    ended = user.run("build", "--target", "debian-13")
    assert ended.code == CONFIGURATION
    assert ended.error == "the project has no target 'debian-13'"
    assert "debian-12" in ended.hint


def test_broken_toml(user: User) -> None:
    user.write("pyproject.toml", "[project\n")
    ended = user.run("build")
    assert ended.code == CONFIGURATION
    assert "pyproject.toml" in ended.stderr


# -- the lock -----------------------------------------------------------------------------------------------


def test_no_lock(user: User) -> None:
    user.project()
    user.commit()
    ended = user.run("build")
    assert ended.code == CONFIGURATION
    assert ended.error.startswith("there is no lock")
    assert ended.hint == LOCK_IT


def test_stale_lock(user: User) -> None:
    user.ready()
    user.project("click>=8")
    user.commit()
    ended = user.run("build")
    assert ended.code == CONFIGURATION
    assert ended.error == "the lock is stale: dependencies changed (now click>=8)"
    assert ended.hint == LOCK_IT


def test_half_of_a_lock(user: User) -> None:
    user.ready()
    user.write("debs.lock.toml", (user.root / "debs.lock.toml").read_text() + "# mine\n")
    user.commit()
    ended = user.run("build")
    assert ended.code == CONFIGURATION
    assert ended.error == "debs.lock.toml is not the file that this pylock.toml was made with"
    assert ended.hint == LOCK_IT


@pytest.mark.parametrize(
    ("hashes", "told"), [({}, "has no hash"), ({"md5": "0" * 32}, "has only md5"), ({"sha256": "abc"}, "malformed")]
)
def test_lock_without_sha256(user: User, hashes: dict[str, str], told: str) -> None:
    user.wheel("plain", {"plain.py": ""})
    user.ready("plain")

    def spoil(lock: Any) -> None:
        lock["packages"][0]["wheels"][0]["hashes"] = hashes

    user.change("pylock.toml", spoil)
    ended = user.run("build")
    assert ended.code == CONFIGURATION
    assert told in ended.error
    assert "plain-1.0-py3-none-any.whl" in ended.error
    assert ended.hint


def test_os_package_without_sha256(user: User) -> None:
    user.ready()

    def spoil(lock: Any) -> None:
        del lock["debian-12"]["package"][3]["sha256"]

    user.change("debs.lock.toml", spoil)
    ended = user.run("build")
    assert ended.code == CONFIGURATION
    assert "has no sound sha256" in ended.error


def test_sha256_that_was_altered(user: User, tmp_path: Path) -> None:
    user.wheel("altered", {"altered.py": tiny.salt()})
    user.ready("altered")
    real = user.index.hash("altered", "altered-1.0-py3-none-any.whl")
    false = hashlib.sha256(real.encode()).hexdigest()

    def spoil(lock: Any) -> None:
        lock["packages"][0]["wheels"][0]["hashes"] = {"sha256": false}

    user.change("pylock.toml", spoil)
    ended = user.run("build")
    assert ended.code == VERIFICATION
    assert ended.error.startswith("altered-1.0-py3-none-any.whl")
    assert false in ended.error
    assert real in ended.error
    assert ended.hint


def test_server_that_sends_other_bytes(user: User, tmp_path: Path) -> None:
    name = user.wheel("swapped", {"swapped.py": tiny.salt()})
    user.ready("swapped")
    true = user.index.projects["swapped"].files[name]
    evil = true[:-40] + bytes(40)
    user.move(name, evil)
    ended = user.run("build")
    assert ended.code == VERIFICATION
    assert hashlib.sha256(true).hexdigest() in ended.error
    assert hashlib.sha256(evil).hexdigest() in ended.error
    assert ended.hint


def test_no_wheel_for_the_target_and_no_sdist(user: User, tmp_path: Path) -> None:
    user.wheel("elsewhere", {"elsewhere.py": ""}, tag="cp311-cp311-win_amd64", purelib=False)
    user.project("elsewhere", more="")
    user.commit()
    ended = user.run("lock")
    assert ended.code == CONFIGURATION
    assert "elsewhere" in ended.stderr
    assert not (user.root / "pylock.toml").exists()


def test_no_wheel_for_the_target_in_the_lock(user: User, tmp_path: Path) -> None:
    user.wheel("elsewhere", {"elsewhere.py": ""})
    user.ready("elsewhere")

    def spoil(lock: Any) -> None:
        one = lock["packages"][0]["wheels"][0]
        one["url"] = one["url"].replace("py3-none-any", "cp311-cp311-win_amd64")

    user.change("pylock.toml", spoil)
    ended = user.run("build")
    assert ended.code == CONFIGURATION
    assert ended.error == "elsewhere 1.0 has no wheel for debian-12 and no sdist to compile"
    assert "cp311-cp311-win_amd64" in ended.hint


# -- what is locked -----------------------------------------------------------------------------------------

EXTENSION = "from setuptools import Extension, setup\nsetup(ext_modules=[Extension('{0}', ['{0}.c'])])\n"


def compiled(user: User, name: str, source: str, **project: str) -> None:
    """The project depends on *name*, an sdist with one C file."""
    texts = {"setup.py": EXTENSION.format(name), f"{name}.c": source}
    user.index.put(name, f"{name}-1.0.tar.gz", tiny.sdist(name, "1.0", texts))
    user.ready(name, **project)


def whole_log(stderr: str) -> str:
    """The log that the error leads to; it is there after the build."""
    (line,) = [line for line in stderr.splitlines() if line.startswith("  log: ")]
    return Path(line.removeprefix("  log: ")).read_text()


def test_nothing_is_compiled_for_another_architecture(user: User) -> None:
    compiled(user, "native", "int x;\n", more='targets = ["debian-12-arm64"]\n')
    ended = user.run("build")
    assert ended.code == CONFIGURATION
    assert ended.error.startswith("native 1.0 has no wheel for debian-12-arm64 and cannot be compiled for it")
    assert "a version that has a wheel for aarch64" in ended.hint
    assert "qemu" in ended.hint


@pytest.mark.parametrize(
    ("formats", "options"), [(("deb",), ()), (("wheel", "deb"), ("--format", "deb"))], ids=["configured", "asked for"]
)
def test_no_deb_for_another_architecture(user: User, formats: tuple[str, ...], options: tuple[str, ...]) -> None:
    user.ready(formats=formats, more='targets = ["debian-12-arm64"]\n')
    ended = user.run("build", *options)
    assert (ended.code, ended.error) == (
        CONFIGURATION,
        "no deb for debian-12-arm64: a Debian package is made by programs of its architecture",
    )
    assert "the wheelhouse, the pex or the image" in ended.hint


def test_own_compiled_code_is_for_one_architecture(user: User) -> None:
    user.write("fast.c", "#include <Python.h>\nPyMODINIT_FUNC PyInit_fast(void) { return 0; }\n")
    extension = '[[tool.setuptools.ext-modules]]\nname = "fast"\nsources = ["fast.c"]\n'
    user.ready(more=f'targets = ["debian-12-arm64"]\n{extension}')
    ended = user.run("build")
    assert ended.code == CONFIGURATION
    assert "the project's own wheel shop-1.0" in ended.error
    assert "cannot be compiled for debian-12-arm64" in ended.error


def test_sdist_that_does_not_compile(user: User) -> None:
    compiled(user, "broken", "int main( {\n")
    ended = user.run("build")
    assert ended.code == 1
    assert ended.error.startswith("broken 1.0 does not compile for debian-12")
    assert "broken.c:1:" in ended.stderr
    assert "broken.c:1:" in whole_log(ended.stderr)
    assert ended.hint


def test_sdist_that_lacks_a_header(user: User) -> None:
    compiled(user, "headless", "#include <libpq-fe.h>\n")
    ended = user.run("build")
    assert ended.code == 1
    assert ended.error == "headless 1.0 does not compile for debian-12: libpq-fe.h is missing"
    assert '[tool.release.build.headless]\napt = ["libpq-dev"]' in ended.hint
    assert "fatal error: libpq-fe.h" in whole_log(ended.stderr)


LIES = ("a file is not what RECORD says", "a file is not in RECORD", "a path goes up", "no zip at all")


@pytest.mark.parametrize("lie", LIES)
def test_wheel_that_lies(user: User, tmp_path: Path, lie: str) -> None:
    name = user.wheel("orders", {"orders.py": ""})
    user.project("orders")
    user.lock()  # from an honest index: uv would not read some of these
    made = wheelmaker.LIES[lie](tmp_path / "lie")

    def swap(lock: Any) -> None:
        one = lock["packages"][0]["wheels"][0]
        one.update(hashes={"sha256": hashlib.sha256(made.read_bytes()).hexdigest()}, size=made.stat().st_size)

    user.commit()
    user.change("pylock.toml", swap)
    user.move(name, made.read_bytes())
    ended = user.run("build")
    assert ended.code == VERIFICATION
    assert name in ended.stderr
    assert ended.hint


def test_two_wheels_that_own_one_file(user: User, tmp_path: Path) -> None:
    for name in ("mine", "yours"):
        user.wheel(name, {f"{name}.py": "", "common.py": name})
    user.ready("mine", "yours")
    ended = user.run("build")
    assert ended.code == 1
    for part in ("common.py", "mine", "yours"):
        assert part in ended.error
    assert ended.hint


def test_console_script_that_names_nothing(user: User) -> None:
    user.ready(function="open_the_door")
    ended = user.run("build")
    assert ended.code == 1
    assert "shop=shop:open_the_door" in ended.error
    assert "pyproject.toml:" in ended.stderr
    assert ended.hint


# -- the checkout -------------------------------------------------------------------------------------------


def test_no_repository(user: User) -> None:
    user.project()
    user.lock()
    ended = user.run("build")
    assert (ended.code, ended.error) == (1, "this is not in a git repository: a release is made from a commit")
    assert ended.hint.startswith("git init && git add")


def test_no_commit(user: User) -> None:
    user.project()
    user.lock()
    user.git("init", "--quiet")
    ended = user.run("build")
    assert (ended.code, ended.error) == (1, "the repository has no commit")
    assert ended.hint == "git add . && git commit"


def test_shallow_clone(user: User, tmp_path: Path) -> None:
    user.ready()
    user.commit()
    user.git("clone", "--quiet", "--depth=1", f"file://{user.root}", str(tmp_path / "clone"))
    user.root = tmp_path / "clone"
    ended = user.run("build")
    assert ended.code == 1
    assert ended.error.startswith("the clone is shallow")
    assert "git fetch --unshallow --tags" in ended.hint


def test_no_tag_where_the_version_comes_from_tags(user: User) -> None:
    user.ready(build=("setuptools", "setuptools-scm"), version='dynamic = ["version"]', more="[tool.setuptools_scm]\n")
    ended = user.run("build")
    assert ended.code == 1
    assert "tag" in ended.error
    assert "git tag" in ended.hint


def test_dirty_checkout(user: User) -> None:
    user.ready()
    user.write("shop.py", "def main():\n    print('shut')\n")
    ended = user.run("build")
    assert ended.code == 1
    assert ended.error == "the checkout has changes that are not committed"
    assert "shop.py" in ended.stderr
    assert "--allow-dirty" in ended.hint


def test_dirty_builds_can_never_be_published(user: User) -> None:
    user.ready()
    user.write("shop.py", "def main():\n    print('shut')\n")
    ended = user.run("build", "--allow-dirty", "--json")
    assert ended.code == 0
    made = ended.data["version"]
    assert any(len(part) == 9 and part.startswith("d") for part in (Version(made).local or "").split("."))
    assert not version.publishable(made)
    assert version.publishable(made.rpartition(".d")[0])
    subprocess.run(["rm", "-r", ended.data["dir"]], check=True)
