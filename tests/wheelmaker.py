"""Makes wheels by hand, from literal dicts, so that a test shows what is in them; and wheels that lie.

``make`` writes an honest wheel, ``contents`` answers its members to be spoilt, ``write`` puts any members
into a zip. ``LIES`` maps a description to a function that writes a wheel which no tool should install.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import warnings
import zipfile
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

__all__ = ["LIES", "contents", "make", "record", "write"]

_FILES: dict[str, str | bytes] = {"orders/__init__.py": "x = 1\n"}
_TIME = (1980, 1, 1, 0, 0, 0)


def record(files: Mapping[str, bytes], own: str, *, algorithm: str = "sha256") -> bytes:
    """A true RECORD of *files*; *own* is its own path."""
    rows = [f"{path},{algorithm}={_digest(data, algorithm)},{len(data)}\n" for path, data in files.items()]
    return "".join([*rows, f"{own},,\n"]).encode()


def _digest(data: bytes, algorithm: str) -> str:
    return base64.urlsafe_b64encode(hashlib.new(algorithm, data).digest()).decode().rstrip("=")


def contents(
    files: Mapping[str, str | bytes] | None = None,
    *,
    name: str = "orders",
    version: str = "1.0",
    tag: str = "py3-none-any",
    purelib: bool = True,
    scripts: Mapping[str, str] | None = None,
    requires: Iterable[str] = (),
    requires_python: str = "",
    algorithm: str = "sha256",
) -> dict[str, bytes]:
    """All members of an honest wheel; RECORD is the last."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {one}" for one in requires]
    metadata += [f"Requires-Python: {requires_python}"] if requires_python else []
    pythons, abis, platforms = (part.split(".") for part in tag.split("-"))
    tags = [f"Tag: {p}-{a}-{f}" for p in pythons for a in abis for f in platforms]
    wheel = ["Wheel-Version: 1.0", "Generator: wheelmaker", f"Root-Is-Purelib: {str(purelib).lower()}", *tags]
    members = {
        path: data.encode() if isinstance(data, str) else data
        for path, data in (_FILES if files is None else files).items()
    }
    members[f"{info}/METADATA"] = "".join(f"{line}\n" for line in metadata).encode()
    members[f"{info}/WHEEL"] = "".join(f"{line}\n" for line in wheel).encode()
    if scripts:
        lines = ["[console_scripts]", *(f"{script} = {called}" for script, called in scripts.items())]
        members[f"{info}/entry_points.txt"] = "".join(f"{line}\n" for line in lines).encode()
    members[f"{info}/RECORD"] = record(members, f"{info}/RECORD", algorithm=algorithm)
    return members


def write(
    path: Path,
    members: Mapping[str, bytes] | Iterable[tuple[str | zipfile.ZipInfo, bytes]],
    *,
    modes: Mapping[str, int] | None = None,
    method: int = zipfile.ZIP_DEFLATED,
) -> Path:
    """Write *members* into a zip, in order; *modes* are full ``st_mode`` values, 0o100644 by default."""
    pairs = members.items() if hasattr(members, "items") else members
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name that is there twice
        for name, data in pairs:
            if isinstance(name, zipfile.ZipInfo):
                archive.writestr(name, data)
                continue
            info = zipfile.ZipInfo(name, _TIME)
            info.create_system, info.compress_type = 3, method
            info.external_attr = (modes or {}).get(name, 0o100644) << 16
            archive.writestr(info, data)
    return path


def make(
    into: Path,
    files: Mapping[str, str | bytes] | None = None,
    *,
    name: str = "orders",
    version: str = "1.0",
    tag: str = "py3-none-any",
    purelib: bool = True,
    scripts: Mapping[str, str] | None = None,
    requires: Iterable[str] = (),
    requires_python: str = "",
    modes: Mapping[str, int] | None = None,
) -> Path:
    """Write an honest wheel into the folder *into* and answer its path."""
    members = contents(
        files,
        name=name,
        version=version,
        tag=tag,
        purelib=purelib,
        scripts=scripts,
        requires=requires,
        requires_python=requires_python,
    )
    return write(into / f"{name.replace('-', '_')}-{version}-{tag}.whl", members, modes=modes)


_NAME = "orders-1.0-py3-none-any.whl"
_INFO = "orders-1.0.dist-info"
_MODULE = "orders/__init__.py"


def _recorded(members: dict[str, bytes], **algorithm: str) -> dict[str, bytes]:
    """*members* with a RECORD that is true again."""
    members.pop(f"{_INFO}/RECORD")
    return {**members, f"{_INFO}/RECORD": record(members, f"{_INFO}/RECORD", **algorithm)}


def _with(files: Mapping[str, str | bytes], modes: Mapping[str, int] | None = None) -> Callable[[Path], Path]:
    return lambda into: write(into / _NAME, contents({**_FILES, **files}), modes=modes)


def _replaced(member: str, old: str, new: str) -> Callable[[Path], Path]:
    def lie(into: Path) -> Path:
        members = contents(scripts={"orders": "orders:main"})
        assert old.encode() in members[member]
        members[member] = members[member].replace(old.encode(), new.encode())
        return write(into / _NAME, members if member.endswith("RECORD") else _recorded(members))

    return lie


def _changed_after_recording(into: Path) -> Path:
    return write(into / _NAME, contents() | {_MODULE: b"x = 2\n"})


def _unlisted(into: Path) -> Path:
    return write(into / _NAME, {**contents(), "orders/extra.py": b"evil = 1\n"})


def _listed_but_missing(into: Path) -> Path:
    members = contents({**_FILES, "orders/gone.py": ""})
    del members["orders/gone.py"]
    return write(into / _NAME, members)


def _twice(into: Path) -> Path:
    return write(into / _NAME, [*contents().items(), (_MODULE, b"x = 2  # second\n")])


def _spoilt(spoil: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def lie(into: Path) -> Path:
        path = write(into / _NAME, contents())
        path.write_bytes(spoil(path.read_bytes()))
        return path

    return lie


def _named(name: str, **facts: str) -> Callable[[Path], Path]:
    return lambda into: write(into / name, contents(**facts))  # type: ignore[arg-type]


def _with_comment(data: bytes) -> bytes:
    return data[:-2] + struct.pack("<H", 4) + b"evil"


def _other_local_name(data: bytes) -> bytes:
    return data.replace(_MODULE.encode(), b"orders/__evil__.py", 1)


def _other_local_size(data: bytes) -> bytes:
    return data[:22] + struct.pack("<L", 999) + data[26:]


def _flagged(bit: int) -> Callable[[bytes], bytes]:
    def spoil(data: bytes) -> bytes:
        place = data.index(b"PK\1\2")
        (flags,) = struct.unpack_from("<H", data, place + 8)
        return data[: place + 8] + struct.pack("<H", flags | bit) + data[place + 10 :]

    return spoil


def _hidden_between(into: Path) -> Path:
    """Bytes that the directory does not name, where a reader of local headers finds another file."""
    path = write(into / _NAME, contents())
    hidden = write(into / "hidden.zip", {_MODULE: b"evil = 1\n"}).read_bytes()
    (into / "hidden.zip").unlink()
    local = hidden[: hidden.index(b"PK\1\2")]
    data = path.read_bytes()
    directory = data.index(b"PK\1\2")
    end = data[-22:-6] + struct.pack("<L", directory + len(local)) + data[-2:]
    path.write_bytes(data[:directory] + local + data[directory:-22] + end)
    return path


def _unnamed(into: Path) -> Path:
    """A member that the directory does not name: readers of a stream install it, others do not."""
    path = into / _NAME
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in [*contents().items(), ("orders/hidden.py", b"evil = 1\n"), ("orders/", b"")]:
            archive.writestr(zipfile.ZipInfo(name, _TIME), data)
        del archive.filelist[-2]
    return path


def _repacked(packed: Callable[[bytes], bytes], crc: Callable[[bytes], int]) -> Callable[[Path], Path]:
    """A wheel whose first member holds other packed bytes or another CRC, both headers agreeing."""

    def lie(into: Path) -> Path:
        members = contents()
        original = members[_MODULE]
        path = write(into / _NAME, members | {_MODULE: packed(original)}, method=zipfile.ZIP_STORED)
        data = bytearray(path.read_bytes())
        for place in (0, data.index(b"PK\1\2") + 2):
            struct.pack_into("<H", data, place + 8, zipfile.ZIP_DEFLATED)
            struct.pack_into("<L", data, place + 14, crc(original))
            struct.pack_into("<L", data, place + 22, len(original))
        path.write_bytes(data)
        return path

    return lie


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def _not_utf8(into: Path) -> Path:
    """A name in code page 437, as zips of last century have it."""
    members = contents({**_FILES, "orders/grXse.txt": "x"})
    path = write(into / _NAME, members)
    path.write_bytes(path.read_bytes().replace(b"grXse", b"gr\x81se"))
    return path


def _bomb(into: Path) -> Path:
    return write(into / _NAME, contents({**_FILES, "orders/zeros.bin": bytes(80 << 20)}))


LIES: dict[str, Callable[[Path], Path]] = {
    # The six that pip, uv or installer let in (threat model, row 4).
    "a file is not what RECORD says": _changed_after_recording,
    "a file is not in RECORD": _unlisted,
    "a name is there twice": _twice,
    "a path goes up": _with({"../../escape.py": "evil = 1\n"}),
    "a path is absolute": _with({"/etc/cron.d/evil": "evil = 1\n"}),
    "a .pth file runs code": _with({"evil.pth": "import evil\n"}),
    # The zip itself.
    "a .pth file adds a path": _with({"evil.pth": "evil=1\n"}),
    "bytes before the zip": _spoilt(lambda data: b"#!/bin/sh\n" + data),
    "bytes after the zip": _spoilt(lambda data: data + b"evil"),
    "a zip comment": _spoilt(_with_comment),
    "hidden member between two members": _hidden_between,
    "a member that the directory does not name": _unnamed,
    "bytes hidden behind a packed file": _repacked(lambda data: _deflated(data) + b"evil", zlib.crc32),
    "a packed file that does not end": _repacked(lambda data: _deflated(data)[:-1], zlib.crc32),
    "a false CRC": _repacked(_deflated, lambda data: zlib.crc32(data) ^ 1),
    "two names for one member": _spoilt(_other_local_name),
    "two sizes for one member": _spoilt(_other_local_size),
    "encrypted": _spoilt(_flagged(0x1)),
    "packed with bzip2": lambda into: write(into / _NAME, contents(), method=zipfile.ZIP_BZIP2),
    "cut off": _spoilt(lambda data: data[:-30]),
    "no zip at all": _spoilt(lambda _: b"<html>"),
    "a symbolic link": _with({"orders/link": "/etc/passwd"}, {"orders/link": 0o120777}),
    "a device": _with({"orders/null": ""}, {"orders/null": 0o020666}),
    "names that differ in case": _with({"orders/A.py": "", "orders/a.py": ""}),
    "a file and a folder of one name": _with({"orders/a": "", "orders/a/b.py": ""}),
    "a name with a control character": _with({"orders/\x1b[2Ja.py": ""}),
    "a name with a backslash": _with({"orders\\..\\a.py": ""}),
    "a name in code page 437": _not_utf8,
    "a zip bomb": _bomb,
    # What it says about itself.
    "another name in METADATA": _replaced(f"{_INFO}/METADATA", "Name: orders", "Name: other"),
    "another version in METADATA": _replaced(f"{_INFO}/METADATA", "Version: 1.0", "Version: 1.1"),
    "another tag in WHEEL": _replaced(f"{_INFO}/WHEEL", "py3-none-any", "cp311-cp311-linux_x86_64"),
    "another wheel format": _replaced(f"{_INFO}/WHEEL", "Wheel-Version: 1.0", "Wheel-Version: 2.0"),
    "neither purelib nor platlib": _replaced(f"{_INFO}/WHEEL", "Purelib: true", "Purelib: maybe"),
    "the .dist-info of another version": _named("orders-1.1-py3-none-any.whl"),
    "the .dist-info of another project": _named("other-1.0-py3-none-any.whl"),
    "two .dist-info folders": _with({"other-1.0.dist-info/METADATA": "Name: other\n"}),
    "no name of a wheel": _named("orders.whl"),
    "a script that names no function": _replaced(f"{_INFO}/entry_points.txt", "orders:main", "orders"),
    "a script whose reference is code": _replaced(f"{_INFO}/entry_points.txt", "orders:main", "orders:main();evil"),
    "a script whose name is a path": _replaced(f"{_INFO}/entry_points.txt", "orders =", "../orders ="),
    "entry points that are not a table": _replaced(f"{_INFO}/entry_points.txt", "[console_scripts]", "console"),
    "an unknown scheme in .data": _with({"orders-1.0.data/etc/evil": ""}),
    "a .data folder of another name": _with({"Orders-1.0.data/scripts/evil": ""}),
    "two files for one place": _with({f"orders-1.0.data/purelib/{_MODULE}": "x = 2\n"}),
    "sitecustomize": _with({"sitecustomize.py": "import evil\n"}),
    "usercustomize in .data": _with({"orders-1.0.data/platlib/usercustomize/__init__.py": ""}),
    # RECORD.
    "RECORD with md5": lambda into: write(into / _NAME, contents(algorithm="md5")),
    "RECORD with sha1": lambda into: write(into / _NAME, contents(algorithm="sha1")),
    "RECORD without a hash": _replaced(f"{_INFO}/RECORD", "sha256=", "="),
    "RECORD with a false size": _replaced(f"{_INFO}/RECORD", ",6\n", ",7\n"),
    "RECORD lists what is not there": _listed_but_missing,
    "RECORD is no table": _replaced(f"{_INFO}/RECORD", ",,\n", "\n"),
    "no RECORD": lambda into: write(into / _NAME, dict(list(contents().items())[:-1])),
    "no METADATA": lambda into: write(into / _NAME, {k: v for k, v in contents().items() if "METADATA" not in k}),
}
