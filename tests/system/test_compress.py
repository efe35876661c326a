"""The compressor: the same bytes whatever the threads, the writes and the processor, read by every tool."""

from __future__ import annotations

import gzip as standard
import hashlib
import io
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path

import deflate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildonce.system import compress


def sample(size: int) -> bytes:
    """Bytes that compress about as code does, the same on every run."""
    chance = random.Random(size)
    words = [chance.randbytes(chance.randint(2, 12)) for _ in range(500)]
    made = bytearray()
    while len(made) < size:
        made += chance.choice(words)
    return bytes(made[:size])


def written(data: bytes, *, threads: int, step: int) -> bytes:
    out = io.BytesIO()
    with compress.GzipWriter(out, threads=threads) as stream:
        for start in range(0, len(data), step):
            stream.write(data[start : start + step])
    return out.getvalue()


def test_the_header_holds_no_time_name_or_system() -> None:
    assert compress.gzip(b"data")[:10] == bytes.fromhex("1f8b08000000000000ff")


def test_the_bytes_are_those_of_the_pinned_compressor() -> None:
    """Known answer: another version of libdeflate, or another level, fails here before it changes a
    release.
    """
    found = hashlib.sha256(written(sample(3 << 20), threads=2, step=1 << 16)).hexdigest()
    assert found == KNOWN


KNOWN = "cd99250d03bc06edd23395330e9104d16735261891e18b53d7967f6ccb4fa9ba"


@given(
    size=st.sampled_from(
        [
            0,
            1,
            7,
            compress.PIECE - 1,
            compress.PIECE,
            compress.PIECE + 1,
            2 * compress.PIECE,
            5 * compress.PIECE + 3,
        ]
    ),
    step=st.sampled_from([977, 10240, compress.PIECE, 3 * compress.PIECE + 5, 1 << 24]),
    threads=st.integers(1, 4),
)
@settings(max_examples=30, deadline=None)
def test_threads_and_writes_do_not_decide_bytes(size: int, step: int, threads: int) -> None:
    data = sample(size)
    pieces = [data[start : start + compress.PIECE] for start in range(0, size, compress.PIECE)] or [b""]
    assert written(data, threads=threads, step=step) == b"".join(compress.gzip(piece) for piece in pieces)


def test_python_and_gzip_read_the_members_as_one_stream(tmp_path: Path) -> None:
    data = sample(3 * compress.PIECE + 12345)
    packed = written(data, threads=2, step=100_000)
    assert standard.decompress(packed) == data
    path = tmp_path / "data.gz"
    path.write_bytes(packed)
    assert subprocess.run(["gzip", "-dc", path], capture_output=True, check=True).stdout == data
    subprocess.run(["gzip", "-t", path], check=True)


def test_memory_does_not_grow_with_the_data() -> None:
    piece = sample(compress.PIECE)

    class Nowhere(io.RawIOBase):
        def write(self, data: object) -> int:
            return 0

    def peak(pieces: int) -> int:
        tracemalloc.start()
        with compress.GzipWriter(Nowhere(), threads=2) as stream:  # type: ignore[arg-type]
            for _ in range(pieces):
                stream.write(piece)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(60) < peak(12) + compress.PIECE


def test_an_error_while_writing_is_not_hidden() -> None:
    out = io.BytesIO()

    def broken() -> None:
        with compress.GzipWriter(out) as stream:
            stream.write(b"x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert out.getvalue() == b""


PROGRAM = """
import hashlib, sys
sys.path[:0] = sys.argv[2:]
from buildonce.system import compress
data = open(sys.argv[1], "rb").read()
digest = hashlib.sha256()
for start in range(0, len(data), compress.PIECE):
    digest.update(compress.gzip(data[start:start + compress.PIECE]))
print(digest.hexdigest())
"""


@pytest.mark.integration
@pytest.mark.parametrize("processor", ["qemu64", "Nehalem", "Westmere", "Haswell", "max"])
def test_the_processor_does_not_decide_bytes(processor: str, tmp_path: Path) -> None:
    """From a processor with nothing beyond SSE3 to one with AVX2 and carry-less multiplication (apt:
    qemu-user).
    """
    data = tmp_path / "data"
    data.write_bytes(sample(2 << 20))
    site, source = Path(deflate.__file__).parent.parent, Path(compress.__file__).parents[2]
    command = [sys.executable, "-S", "-c", PROGRAM, str(data), str(source), str(site)]
    here = subprocess.run(command, capture_output=True, check=True).stdout
    there = subprocess.run(["qemu-x86_64", "-cpu", processor, *command], capture_output=True, check=True).stdout
    assert len(here) == 65
    assert there == here
