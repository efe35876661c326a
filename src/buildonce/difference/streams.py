"""Compressed streams: what their header says, and what they unpack to.

Formats: gzip (RFC 1952), Zstandard (RFC 8878), xz (xz-file-format.txt).
"""

from __future__ import annotations

import gzip
import lzma
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import zstandard

from buildonce.difference.blob import CHUNK
from buildonce.difference.facts import moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from buildonce.difference.blob import Blob, Scratch
    from buildonce.difference.facts import Label

__all__ = ["StreamKind", "Unpacked", "kind", "unpack"]

StreamKind = Literal["gzip", "zstd", "xz"]

_MAGIC: Final[dict[bytes, StreamKind]] = {
    b"\x1f\x8b\x08": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
}
_MOST_MEMORY: Final = 256 << 20  # of a decoder: what xz -9 needs is a quarter of it
_SKIPPABLE: Final = 0x184D2A50  # RFC 8878, 3.1.2
_ONE_BYTE_REPEATED: Final = 1  # 3.1.1.2.2: the type of a block
_NAME, _COMMENT, _EXTRA = 8, 16, 4  # gzip's flags


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpacked:
    """What is inside, and what the header says beside it."""

    blob: Blob
    facts: Mapping[Label, str]


def kind(blob: Blob) -> StreamKind | None:
    """The compression of *blob*, by its first bytes."""
    head = blob.read(0, 6)
    return next((found for magic, found in _MAGIC.items() if head.startswith(magic)), None)


def unpack(blob: Blob, compression: StreamKind, scratch: Scratch) -> Unpacked:
    """Unpack *blob*. Raises what the decoders raise, and :class:`TooLargeError`."""
    readers: dict[StreamKind, Callable[[Blob], Iterator[bytes]]] = {"gzip": _gunzip, "zstd": _unzstd, "xz": _unxz}
    facts: dict[Label, str] = {"compressor": compression}
    if compression == "gzip":
        facts |= _gzip_facts(blob)
    elif compression == "zstd":
        frame = zstandard.get_frame_parameters(blob.read(0, 32))
        facts["compressor"] = f"zstd, window {frame.window_size}, checksum {frame.has_checksum}"
    return Unpacked(blob=scratch.keep(readers[compression](blob), blob.size), facts=facts)


def _gzip_facts(blob: Blob) -> dict[Label, str]:
    head = blob.read(0, 1 << 16)
    flags, time, level, system = struct.unpack_from("<BIBB", head, 3)
    at = 10
    if flags & _EXTRA:
        at += 2 + int(struct.unpack_from("<H", head, at)[0])
    names = []
    for flag in (_NAME, _COMMENT):
        end = head.index(0, at) if flags & flag else at
        names.append(head[at:end].decode("latin-1"))
        at = end + 1 if flags & flag else at
    return {
        "time": moment(time) if time else "none",
        "name": " ".join(filter(None, names)) or "none",
        "compressor": f"gzip, level mark {level}, system {system}, flags {flags & ~(_NAME | _COMMENT):#x}",
    }


def _gunzip(blob: Blob) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=blob.stream()) as stream:
        while piece := stream.read(CHUNK):
            yield piece


def _unzstd(blob: Blob) -> Iterator[bytes]:
    with zstandard.ZstdDecompressor().stream_reader(blob.stream(), read_across_frames=True) as stream:
        while piece := stream.read(CHUNK):
            yield piece
    _check_zstd_ends(blob)


def _check_zstd_ends(blob: Blob) -> None:
    """Raise unless the last frame has its last block: the decoder is content with the half of one."""
    at = 0
    while at < blob.size:
        head = blob.read(at, 18)
        if struct.unpack_from("<I", head)[0] & 0xFFFFFFF0 == _SKIPPABLE:
            at += 8 + int(struct.unpack_from("<I", head, 4)[0])
            continue
        at += zstandard.frame_header_size(head)
        checksum = 4 if zstandard.get_frame_parameters(head).has_checksum else 0
        last = False
        while not last:
            header = int.from_bytes(blob.window(at, 3).read(), "little")
            last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
            at += 3 + (1 if kind == _ONE_BYTE_REPEATED else size)
        at += checksum
    if at != blob.size:
        raise EOFError("it is cut short")


def _unxz(blob: Blob) -> Iterator[bytes]:
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY)
    for packed in blob.chunks():
        while packed or not (decoder.needs_input or decoder.eof):
            if decoder.eof:  # another stream, or padding
                packed = packed.lstrip(b"\0")
                if not packed:
                    break
                decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY)
            yield decoder.decompress(packed, CHUNK)
            packed = decoder.unused_data if decoder.eof else b""
    if not decoder.eof:
        raise EOFError("it is cut short")
