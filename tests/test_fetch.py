"""Fetching: every way in which a network, a server and a disk misbehave, against a real server."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from buildonce import fetch
from buildonce.errors import LockError, ReleaseError, VerificationError
from buildonce.model import Digest, RemoteFile
from buildonce.system.console import SilentProgress
from buildonce.system.net import Net
from tests.system.server import FileServer, cuts, hangs, says, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buildonce.system.store import Store

BIG = random.Random(1).randbytes(700_001)  # several pieces


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as running:
        yield running


@pytest.fixture
def net() -> Iterator[Net]:
    made = Net(patience=3, pause=0.01, timeout=5)
    yield made
    made.close()


class Amounts(SilentProgress):
    def __init__(self) -> None:
        self.said: list[tuple[int, int]] = []

    def advance(self, detail: str, done: int, total: int) -> None:
        self.said.append((done, total))


def offer(server: FileServer, name: str, data: bytes, *, size: bool = True) -> RemoteFile:
    server.files[f"/{name}"] = data
    digest = Digest(hashlib.sha256(data).hexdigest())
    return RemoteFile(filename=name, sha256=digest, size=len(data) if size else None, url=server.url(f"/{name}"))


def get(net: Net, store: Store, *files: RemoteFile) -> dict[Digest, Path]:
    return fetch.fetch(files, store=store, net=net, progress=SilentProgress())


def parts(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (store.root / "parts").iterdir()}


def test_files_are_fetched_once_and_in_parallel(server: FileServer, net: Net, store: Store) -> None:
    wanted = [offer(server, f"f{number}.whl", bytes([number]) * 1000) for number in range(40)]
    server.wait_for = 0.05
    amounts = Amounts()
    found = fetch.fetch([*wanted, *wanted], store=store, net=net, progress=amounts)
    assert {digest: path.read_bytes() for digest, path in found.items()} == {
        file.sha256: server.files[f"/{file.filename}"] for file in wanted
    }
    assert all(path == store.place(digest, path.name) for digest, path in found.items())
    assert len(server.requests) == 40
    assert 4 <= server.most <= 16
    assert amounts.said[-1] == (40_000, 40_000)
    assert get(net, store, *wanted) == found
    assert len(server.requests) == 40
    assert parts(store) == {}


def test_a_corrupt_entry_of_the_store_is_fetched_again(server: FileServer, net: Net, store: Store) -> None:
    file = offer(server, "a.whl", b"good")
    place = get(net, store, file)[file.sha256]
    place.write_bytes(b"evil")
    assert get(net, store, file)[file.sha256].read_bytes() == b"good"


def test_a_file_beside_the_lock_is_copied(server: FileServer, net: Net, store: Store, tmp_path: Path) -> None:
    data = b"local wheel"
    beside = tmp_path / "with space.whl"
    beside.write_bytes(data)
    file = RemoteFile(filename="a.whl", sha256=Digest(hashlib.sha256(data).hexdigest()), size=len(data), path=beside)
    by_url = RemoteFile(filename="b.whl", sha256=file.sha256, size=None, url=beside.as_uri())
    assert get(net, store, file)[file.sha256].read_bytes() == data
    assert get(net, store, by_url)[file.sha256].read_bytes() == data
    assert beside.exists()
    assert server.requests == []
    beside.write_bytes(b"other wheel")
    with pytest.raises(VerificationError, match=r"c\.whl is not the file in the lock"):
        get(net, store, RemoteFile(filename="c.whl", sha256=file.sha256, path=beside))
    beside.unlink()
    with pytest.raises(LockError, match=r"d\.whl is not where the lock says"):
        get(net, store, RemoteFile(filename="d.whl", sha256=file.sha256, path=beside))
    assert parts(store) == {}


def test_a_lock_without_a_place(net: Net, store: Store) -> None:
    with pytest.raises(LockError, match=r"does not say where a\.whl is"):
        get(net, store, RemoteFile(filename="a.whl", sha256=Digest("0" * 64)))


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_broken_connection_is_taken_up_again(server: FileServer, net: Net, store: Store, *, ranges: bool) -> None:
    file = offer(server, "big.whl", BIG)
    server.ranges = ranges
    server.faults["/big.whl"] = [cuts(300_000, data=BIG)]
    assert get(net, store, file)[file.sha256].read_bytes() == BIG
    assert server.ranges_of("/big.whl") == [None, "bytes=300000-"]


@pytest.mark.parametrize("size", [True, False])
def test_an_answer_that_ends_early_without_a_word(server: FileServer, net: Net, store: Store, *, size: bool) -> None:
    """Without a length, only the lock's size tells a short file from a wrong one."""
    file = offer(server, "big.whl", BIG, size=size)
    server.faults["/big.whl"] = [cuts(300_000, data=BIG, told=False)]
    if size:
        assert get(net, store, file)[file.sha256].read_bytes() == BIG
        return
    with pytest.raises(VerificationError):
        get(net, store, file)
    assert get(net, store, file)[file.sha256].read_bytes() == BIG


def test_the_next_run_goes_on_where_the_network_was_cut(server: FileServer, net: Net, store: Store) -> None:
    file = offer(server, "big.whl", BIG)
    server.faults["/big.whl"] = [cuts(300_000, data=BIG), says(503), says(503)]
    with pytest.raises(ReleaseError, match="the network was cut") as caught:
        get(net, store, file)
    assert "run it again" in caught.value.problems[0].hint
    assert parts(store) == {f"{file.sha256}.part": BIG[:300_000]}
    assert store.file(file.sha256, file.filename) is None
    server.requests.clear()
    assert get(net, store, file)[file.sha256].read_bytes() == BIG
    assert server.ranges_of("/big.whl") == ["bytes=300000-"]
    assert parts(store) == {}


def test_a_line_that_breaks_again_and_again_but_gets_on(server: FileServer, net: Net, store: Store) -> None:
    file = offer(server, "big.whl", BIG)
    starts = range(0, 600_000, 100_000)
    server.faults["/big.whl"] = [cuts(100_000, data=BIG, offset=start) for start in starts]
    assert get(net, store, file)[file.sha256].read_bytes() == BIG
    assert len(server.requests) == 7


def test_a_part_that_was_complete_is_not_asked_for(server: FileServer, net: Net, store: Store) -> None:
    file = offer(server, "big.whl", BIG)
    (store.root / "parts").mkdir(parents=True)
    (store.root / "parts" / f"{file.sha256}.part").write_bytes(BIG)
    assert get(net, store, file)[file.sha256].read_bytes() == BIG
    assert server.requests == []


@pytest.mark.parametrize(
    "left", [b"\0" * 1000, b"\0" * len(BIG), b"\0" * (len(BIG) + 5)], ids=["short", "full", "long"]
)
@pytest.mark.parametrize("size", [True, False])
def test_a_part_with_a_wrong_beginning(server: FileServer, net: Net, store: Store, left: bytes, *, size: bool) -> None:
    file = offer(server, "big.whl", BIG, size=size)
    (store.root / "parts").mkdir(parents=True)
    (store.root / "parts" / f"{file.sha256}.part").write_bytes(left)
    assert get(net, store, file)[file.sha256].read_bytes() == BIG


def test_a_server_that_answers_with_another_range(server: FileServer, net: Net, store: Store) -> None:
    file = offer(server, "big.whl", BIG)
    server.faults["/big.whl"] = [cuts(300_000, data=BIG), cuts(400_000, data=BIG, offset=500)]
    assert get(net, store, file)[file.sha256].read_bytes() == BIG


def test_other_bytes_are_refused(server: FileServer, net: Net, store: Store) -> None:
    file = offer(server, "a.whl", b"good")
    server.files["/a.whl"] = b"evil"
    with pytest.raises(VerificationError, match=r"a\.whl is not the file in the lock") as caught:
        get(net, store, file)
    message = str(caught.value)
    assert file.sha256 in message
    assert hashlib.sha256(b"evil").hexdigest() in message
    assert caught.value.exit_code == 4
    assert parts(store) == {}


def test_more_bytes_than_the_lock_says_are_not_read(server: FileServer, net: Net, store: Store) -> None:
    file = offer(server, "a.whl", b"good")
    server.files["/a.whl"] = b"x" * 50_000_000
    with pytest.raises(VerificationError, match=r"expected 4 bytes, got \d{1,6}$"):
        get(net, store, file)
    assert parts(store) == {}


@pytest.mark.parametrize(
    ("status", "hint"),
    [(404, "release lock"), (410, "release lock"), (401, "netrc"), (403, "netrc"), (400, "")],
)
def test_what_a_server_refuses_is_not_asked_again(
    server: FileServer, net: Net, store: Store, status: int, hint: str
) -> None:
    file = offer(server, "a.whl", b"good")
    server.faults["/a.whl"] = [says(status)]
    with pytest.raises(ReleaseError, match=f"the server says {status}") as caught:
        get(net, store, file)
    assert hint in caught.value.problems[0].hint
    assert caught.value.problems[0].where == file.url
    assert len(server.requests) == 1
    assert parts(store) == {}


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(server: FileServer, net: Net, store: Store, status: int) -> None:
    file = offer(server, "a.whl", b"good")
    server.faults["/a.whl"] = [says(status), says(status)]
    assert get(net, store, file)[file.sha256].read_bytes() == b"good"
    server.faults["/b.whl"] = [says(status)] * 9
    other = offer(server, "b.whl", b"other")
    with pytest.raises(ReleaseError, match=f"the network was cut: the server says {status}"):
        get(net, store, other)
    assert len(server.ranges_of("/b.whl")) == 3


def test_it_waits_as_long_as_the_server_says(server: FileServer, net: Net, store: Store) -> None:
    file = offer(server, "a.whl", b"good")
    server.faults["/a.whl"] = [says(503, Retry_After="1")]
    began = time.monotonic()
    get(net, store, file)
    assert time.monotonic() - began >= 1


def test_no_server(net: Net, store: Store, server: FileServer) -> None:
    file = offer(server, "a.whl", b"good")
    server.shutdown()
    server.server_close()
    with pytest.raises(ReleaseError, match="the network was cut"):
        get(net, store, file)


def test_one_failure_ends_all(server: FileServer, net: Net, store: Store) -> None:
    """Even while another server hangs."""
    until = threading.Event()
    slow, bad = offer(server, "slow.whl", BIG), offer(server, "bad.whl", b"good")
    server.faults["/slow.whl"] = [hangs(until, data=BIG, after=200_000)]
    server.files["/bad.whl"] = b"evil"
    began = time.monotonic()
    with pytest.raises(VerificationError, match="bad"):
        get(net, store, slow, bad)
    assert time.monotonic() - began < 4
    until.set()


def test_credentials_are_not_shown(server: FileServer, net: Net, store: Store) -> None:
    file = offer(server, "a.whl", b"good")
    server.faults["/a.whl"] = [says(403)]
    secret = file.url.replace("http://", "http://ada:secret@") + "?token=secret"
    with pytest.raises(ReleaseError) as caught:
        get(net, store, RemoteFile(filename="a.whl", sha256=file.sha256, url=secret))
    assert "secret" not in repr(caught.value.problems)
    assert server.headers[0]["Authorization"].startswith("Basic ")


@pytest.mark.integration
def test_a_full_disk(server: FileServer, net: Net, tmp_path: Path) -> None:
    """A real one, of half a megabyte."""
    from buildonce.system.store import Store

    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(small)], check=True)
    try:
        files = [offer(server, "big.whl", BIG), offer(server, "other.whl", BIG + b"x")]
        with pytest.raises(ReleaseError, match=r"the disk is full: \d+ more bytes are needed") as caught:
            get(net, Store(small / "store"), *files)
        needed = int("".join(filter(str.isdigit, str(caught.value))))
        assert 2 * len(BIG) - 600_000 < needed < 2 * len(BIG)
        assert caught.value.problems[0].where == str(small / "store")
        assert "BUILDONCE_STORE" in caught.value.problems[0].hint
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_write_that_fails(server: FileServer, net: Net, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on a machine where nothing may be mounted: /dev/full says what a full disk says."""
    file = offer(server, "a.whl", b"good")
    place = store.root / "parts" / f"{file.sha256}.part"
    place.parent.mkdir(parents=True)

    def to_full(url: str, part: Path, **rest: object) -> None:
        with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123 - a device
            full.write(b"x")

    monkeypatch.setattr(net, "download", to_full)
    with pytest.raises(ReleaseError, match="the disk is full: 4 more bytes are needed") as caught:
        get(net, store, file)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert parts(store) == {}


SCRIPT = """
import pathlib, sys
from buildonce import fetch
from buildonce.model import RemoteFile
from buildonce.system.console import SilentProgress
from buildonce.system.net import Net
from buildonce.system.store import Store

url, sha256, root = sys.argv[1:]
file = RemoteFile(filename="big.whl", sha256=sha256, size=700001, url=url)
try:
    found = fetch.fetch([file], store=Store(pathlib.Path(root)), net=Net(), progress=SilentProgress())
except KeyboardInterrupt:
    sys.exit(130)
print(found[sha256])
"""


def start(file: RemoteFile, store: Store) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", SCRIPT, file.url, file.sha256, str(store.root)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_ctrl_c_leaves_only_parts_and_does_not_wait(server: FileServer, net: Net, store: Store) -> None:
    file = offer(server, "big.whl", BIG)
    until, reached = threading.Event(), threading.Event()
    server.faults["/big.whl"] = [hangs(until, data=BIG, after=400_000, reached=reached)]
    process = start(file, store)
    assert reached.wait(30)
    part = store.root / "parts" / f"{file.sha256}.part"
    while not part.exists() or part.stat().st_size < 400_000:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    process.communicate()
    until.set()
    assert [str(p.relative_to(store.root)) for p in store.root.rglob("*") if p.is_file()] == [f"parts/{part.name}"]
    assert part.read_bytes() == BIG[:400_000]
    assert get(net, store, file)[file.sha256].read_bytes() == BIG
    assert server.ranges_of("/big.whl")[-1] == "bytes=400000-"


def test_two_processes_fetch_one_file_once(server: FileServer, store: Store) -> None:
    file = offer(server, "big.whl", BIG)
    server.wait_for = 1.0
    both = [start(file, store), start(file, store)]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert len(server.requests) == 1
    assert parts(store) == {}
