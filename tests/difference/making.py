"""Writes small archives byte by byte as a test wants them, with everything that a container can say."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

from buildonce.difference import compare

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from buildonce.difference import Difference

FILES: dict[str, bytes] = {
    "shop/__init__.py": b"x = 1\n",
    "shop/app.py": b"def main():\n    print('open')\n",
    "shop/data.txt": b"the shop is open, the shop is open, the shop is closed, the shop is open\n" * 9,
}


def difference(
    folder: Path, expected: bytes, found: bytes, *, name: str = "shop.whl", **more: Any
) -> Difference | None:
    """What differs, from two files of one name."""
    paths = [folder / side / name for side in ("expected", "found")]
    for path, data in zip(paths, (expected, found), strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return compare(*paths, **more)


def differing(folder: Path, expected: bytes, found: bytes, *, name: str = "shop.whl", **more: Any) -> Difference:
    """The same where there has to be a difference."""
    made = difference(folder, expected, found, name=name, **more)
    assert made is not None
    assert 0 < len(made.lines) <= 40
    assert all(line.isprintable() for line in (*made.lines, made.member, *made.further, *made.hint.split("\n")))
    assert made.hint.startswith(made.cause)
    return made


def zipped(files: Mapping[str, bytes] = FILES, *, prefix: bytes = b"", level: int = 6, **facts: Any) -> bytes:
    """A zip; *facts* are attributes of every member."""
    out = io.BytesIO()
    out.write(prefix)
    with zipfile.ZipFile(out, "a" if prefix else "w") as archive:
        for path, data in files.items():
            info = zipfile.ZipInfo(path, facts.get("time", (1980, 1, 1, 0, 0, 0)))
            info.external_attr = (0o100000 | facts.get("mode", 0o644)) << 16
            info.create_system = facts.get("system", 3)
            info.extra = facts.get("extra", b"")
            archive.writestr(info, data, facts.get("method", zipfile.ZIP_DEFLATED), level)
    return out.getvalue()


def wheel(files: Mapping[str, bytes] = FILES, **facts: Any) -> bytes:
    """A wheel with a true RECORD."""
    info = "shop-1.0.dist-info"
    all_ = {**files, f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: hand\n"}
    rows = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')},{len(data)}\n"
        for path, data in all_.items()
    ]
    return zipped({**all_, f"{info}/RECORD": "".join([*rows, f"{info}/RECORD,,\n"]).encode()}, **facts)


def tar(files: Mapping[str, bytes] = FILES, *, links: Mapping[str, str] | None = None, **facts: Any) -> bytes:
    """A tar; *facts* are attributes of every member's header."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            vars_of(info, facts)
            archive.addfile(info, io.BytesIO(data))
        for path, target in (links or {}).items():
            info = tarfile.TarInfo(path)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return out.getvalue()


def vars_of(info: tarfile.TarInfo, facts: Mapping[str, Any]) -> None:
    for key, value in facts.items():
        setattr(info, key, value)


def ar(members: Mapping[str, bytes], *, time: int = 0) -> bytes:
    """An ar archive as dpkg-deb writes them."""
    parts = [b"!<arch>\n"]
    for name, data in members.items():
        parts += [f"{name:<16}{time:<12}0     0     100644  {len(data):<10}`\n".encode(), data, b"\n" * (len(data) % 2)]
    return b"".join(parts)


def image(layers: list[bytes], config: Mapping[str, Any] | None = None, **facts: Any) -> bytes:
    """An OCI layout in a tar; *layers* are blobs, as they are."""
    blobs: dict[str, bytes] = {}

    def put(data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"digest": f"sha256:{digest}", "size": len(data)}

    described = [put(layer) for layer in layers]
    configuration = put(json.dumps({"architecture": "amd64", "os": "linux", **(config or {})}).encode())
    manifest = put(json.dumps({"config": configuration, "layers": described}).encode())
    index = json.dumps({"manifests": [manifest]}).encode()
    return tar({"oci-layout": b"{}", "index.json": index, **dict(sorted(blobs.items()))}, **facts)
