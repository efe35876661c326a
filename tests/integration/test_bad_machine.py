"""A machine that lacks something: a program, room on the disk, the network, a place to write, a passphrase."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration import rebuilding, tiny
from tests.system.server import cuts

if TYPE_CHECKING:
    from tests.integration.tiny import Ended, User

MISSING_TOOL = 5
SMALL = 3 << 20


def without(program: str, into: Path) -> str:
    """A PATH that has everything of this machine but *program*."""
    into.mkdir()
    for folder in reversed(os.environ["PATH"].split(os.pathsep)):
        for tool in Path(folder).glob("*"):
            if tool.name != program and not (into / tool.name).is_symlink():
                (into / tool.name).symlink_to(tool)
    return str(into)


@pytest.mark.parametrize(
    ("program", "command", "line"),
    [
        ("git", "build", "sudo apt-get install git"),
        ("apt-get", "lock", "install your distribution's package of apt"),
    ],
)
def test_missing_program(user: User, tmp_path: Path, program: str, command: str, line: str) -> None:
    user.ready()
    path = without(program, tmp_path / "bin")
    ended = user.run(command, PATH=path)
    assert ended.code == MISSING_TOOL
    assert "is not on this machine" in ended.error
    assert line in ended.hint
    looked = user.run("doctor", PATH=path)
    assert looked.code == MISSING_TOOL
    assert looked.error == f"this machine is not ready: {program} missing"
    assert looked.hint.startswith("sudo apt-get install ")


# -- the disk -----------------------------------------------------------------------------------------------


def run_on_small_disk(
    user: User, place: Path, *arguments: str, size: int = SMALL, seed: Path | None = None, **environment: str
) -> tuple[Ended, list[str]]:
    """``release …`` with a file system of *size* bytes, filled with *seed*, at *place*; answers what is left there."""
    place.mkdir()
    listing = place.parent / "listing"
    fill = f'cp -R "{seed}/." "{place}"' if seed else "true"
    mount = f'mount -t tmpfs -o size={size} tmpfs "{place}" && {fill}'
    script = f'{mount} && "$@"; code=$?; find "{place}" >"{listing}"; exit $code'
    unshare = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))
    ended = user.run(*arguments, start=(*unshare, "sh", "-c", script, "sh"), **environment)
    return ended, [name.removeprefix(f"{place}").lstrip("/") for name in listing.read_text().splitlines()[1:]]


def test_full_disk_under_the_store(user: User, tmp_path: Path) -> None:
    user.wheel("heavy", {"heavy.bin": random.Random(1).randbytes(2 * SMALL)})
    user.ready("heavy")
    ended, left = run_on_small_disk(user, tmp_path / "small", "build", BUILDONCE_STORE=str(tmp_path / "small"))
    assert ended.code == 1
    assert ended.error.startswith("the disk is full")
    assert f"in: {tmp_path}/small" in ended.stderr
    assert "BUILDONCE_STORE" in ended.hint
    assert all(name.startswith(("parts", "files")) for name in left), left


def test_full_disk_under_a_build_root(user: User, tmp_path: Path) -> None:
    """Everything is fetched; there is room for half of the root."""
    user.ready()
    seed, place = rebuilding.seed(tmp_path / "seed", user.root), tmp_path / "small"
    fetched = sum(path.stat().st_size for path in seed.rglob("*") if path.is_file())
    ended, left = run_on_small_disk(
        user, place, "build", size=fetched + (200 << 20), seed=seed, BUILDONCE_STORE=str(place)
    )
    assert ended.code == 1
    assert ended.error == "the disk is full: a build root needs about 1 GB"
    assert f"in: {place}" in ended.stderr
    assert "BUILDONCE_STORE" in ended.hint
    # What was fetched stays; of the root, nothing but the file that one process at a time holds.
    assert [name for name in left if name.startswith("roots/") and not name.endswith(".lock")] == []
    assert sum(name.endswith((".deb", ".whl")) for name in left) == sum(1 for _ in seed.glob("files/*/*/*"))


def test_full_disk_under_the_release(user: User, tmp_path: Path) -> None:
    user.wheel("heavy", {"heavy.bin": random.Random(2).randbytes(SMALL - (SMALL >> 3))})
    user.ready("heavy")
    ended, left = run_on_small_disk(user, tmp_path / "small", "build", "--out", str(tmp_path / "small"))
    assert ended.code == 1
    assert ended.error.startswith("the disk is full")
    assert f"in: {tmp_path}/small" in ended.stderr
    assert "--out" in ended.hint
    assert left == [".lock"]


# -- the network --------------------------------------------------------------------------------------------


def test_network_is_cut_and_the_next_run_resumes(user: User) -> None:
    name = user.wheel("large", {"large.py": tiny.salt(), "large.bin": os.urandom(1 << 18)})
    user.ready("large")
    data = user.index.projects["large"].files[name]
    path = user.move(name, data)
    half, nothing = len(data) // 2, 0
    user.server.faults[path] = [cuts(half, data=data), *[cuts(nothing, data=data, offset=half)] * 4]

    ended = user.run("build")
    assert ended.code == 1
    assert ended.error.startswith("the network was cut")
    assert name in ended.stderr
    assert "run it again" in ended.hint
    assert user.left == []

    before = len(user.server.ranges_of(path))
    again = user.run("build", "--json")
    assert again.code == 0
    assert user.server.ranges_of(path)[before:] == [f"bytes={half}-"]
    shutil.rmtree(again.data["dir"])


def test_no_server_at_all(user: User) -> None:
    name = user.wheel("gone", {"gone.py": tiny.salt()})
    user.ready("gone")
    user.move(name, b"")
    lock = (user.root / "pylock.toml").read_text()
    user.write("pylock.toml", re.sub(r"http://127.0.0.1:\d+/gone", "http://127.0.0.1:9/gone", lock))
    user.commit()
    ended = user.run("build")
    assert ended.code == 1
    assert ended.error.startswith("the network was cut")
    assert "http://127.0.0.1:9/gone" in ended.stderr


# -- places that must not be written ------------------------------------------------------------------------


def ordinary() -> tuple[str, ...]:
    """What starts a program as an ordinary user, who may read the interpreter wherever it is installed."""
    if os.geteuid() != 0:
        return ()
    reading = "dac_read_search"
    return ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps=-all,+{reading}",
            f"--ambient-caps=-all,+{reading}", f"--bounding-set=-all,+{reading}")  # fmt: skip


def belongs_to_ordinary(user: User) -> None:
    if os.geteuid() == 0:
        for folder in user.root.parents:
            if folder == Path("/tmp"):
                break
            folder.chmod(0o755)
        subprocess.run(["chown", "-R", "65534:65534", str(user.root), str(user.home)], check=True)


def test_read_only_home(user: User) -> None:
    user.ready()
    belongs_to_ordinary(user)
    user.home.chmod(0o555)
    del user.environment["BUILDONCE_STORE"]
    ended = user.run("build", start=ordinary())
    assert ended.code == 1
    assert ended.error == "the store cannot be written: Permission denied"
    assert f"in: {user.home}" in ended.stderr
    assert ended.hint == "set BUILDONCE_STORE to a folder that can be written"


def test_read_only_place_for_keys(user: User, tmp_path: Path) -> None:
    user.ready()
    belongs_to_ordinary(user)
    user.home.chmod(0o555)
    shared = tmp_path / "store"
    shared.mkdir()
    shared.chmod(0o777)
    ended = user.run("build", start=ordinary(), BUILDONCE_STORE=str(shared))
    assert ended.code == 1
    assert ended.error == "the key cannot be written: Permission denied"
    assert ended.hint


def test_read_only_checkout(user: User, tmp_path: Path) -> None:
    user.ready()
    belongs_to_ordinary(user)
    user.root.chmod(0o555)
    ended = user.run("build", start=ordinary(), BUILDONCE_STORE=str(user.home / "store"))
    assert ended.code == 1
    assert ended.error == "no release can be written there: Permission denied"
    assert "--out" in ended.hint


# -- the key ------------------------------------------------------------------------------------------------


@pytest.fixture
def protected(user: User, tmp_path: Path) -> Path:
    """A key with a passphrase."""
    (tmp_path / "right").write_text("correct horse battery staple\n")
    made = user.run("key", "new", str(tmp_path / "signer"), RELEASE_KEY_PASSPHRASE_FILE=str(tmp_path / "right"))
    assert made.code == 0
    return tmp_path / "signer.key"


def test_wrong_passphrase_is_told_before_long_work(user: User, tmp_path: Path, protected: Path) -> None:
    user.ready()
    (tmp_path / "wrong").write_text("tr0ub4dor&3\n")
    ended = user.run("build", "--key", str(protected), RELEASE_KEY_PASSPHRASE_FILE=str(tmp_path / "wrong"))
    assert ended.code == 1
    assert ended.error.startswith("the passphrase is wrong")
    assert ended.hint
    assert "==>" not in ended.stderr


def test_no_passphrase_and_no_terminal(user: User, protected: Path) -> None:
    user.ready()
    ended = user.run("build", "--key", str(protected))
    assert ended.code == 1
    assert "nobody is there to type it" in ended.error
    assert "RELEASE_KEY_PASSPHRASE_FILE" in ended.hint
    assert "==>" not in ended.stderr


def test_passphrase_file_that_is_not_there(user: User, protected: Path) -> None:
    user.ready()
    ended = user.run("build", "--key", str(protected), RELEASE_KEY_PASSPHRASE_FILE="/nowhere")
    assert ended.code == 1
    assert ended.error == "the file with the passphrase cannot be read: No such file or directory"


def test_no_such_key(user: User) -> None:
    user.ready()
    ended = user.run("build", "--key", "nowhere.key")
    assert (ended.code, ended.error) == (1, "there is no such key")
    assert ended.hint == "make it with `release key new nowhere`"
