"""Changes finished artifacts the way somebody who knows the formats would: valid containers, every digest true again.

Each format shows the files of one distribution by their path in its wheel (``orders/app.py``,
``orders-1.4.0.dist-info/METADATA``), so that one change is written once for all formats.
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import io
import json
import re
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import zstandard

from buildonce.debs import deb as debs
from buildonce.system.archive import Member, write_tar
from tests.oci.test_reading import Parts, described, parts_of, place, replace_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["CARRIERS", "FORMATS", "Carrier", "Format", "Item", "Items"]

INFO = "PEX-INFO"
LAYER = ("application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar")


@dataclass(frozen=True)
class Item:
    """A member of an archive."""

    data: bytes = b""
    mode: int = 0o644
    link: str = ""

    def with_data(self, data: bytes) -> Item:
        return dataclasses.replace(self, data=data)

    def with_mode(self, mode: int) -> Item:
        return dataclasses.replace(self, mode=mode)


Items = dict[str, Item]


class Format(Protocol):
    """How one kind of artifact is changed. Each method answers where the changed artifact is."""

    site: str  # what stands before a file's path in the wheel when the proof names it

    def edit(self, path: Path, change: Callable[[Items], None]) -> Path:
        """Change the project's own files."""
        ...

    def call_it(self, path: Path, version: str) -> Path:
        """Make it another version, wherever it says which one it is."""
        ...


class Carrier(Format, Protocol):
    """A format that holds the dependencies too."""

    def drop(self, path: Path, dist: str) -> Path:
        """Take the dependency *dist* out, and every mention of it."""
        ...


class Wheel:
    """A zip with a RECORD."""

    site = "opt/venvs/orders/lib/python3.11/site-packages/"

    def edit(self, path: Path, change: Callable[[Items], None]) -> Path:
        path.write_bytes(rewheeled(path.read_bytes(), change))
        return path

    def call_it(self, path: Path, version: str) -> Path:
        return self.edit(path, another_version(version)).rename(path.with_name(renamed(path.name, version)))


class Sdist:
    """A tar.gz with a PKG-INFO."""

    site = "orders-1.4.0/src/"

    def edit(self, path: Path, change: Callable[[Items], None]) -> Path:
        items = tarred(gzip.decompress(path.read_bytes()))
        below(items, self.site, change)
        path.write_bytes(gzip.compress(tar(items), mtime=0))
        return path

    def call_it(self, path: Path, version: str) -> Path:
        items = tarred(gzip.decompress(path.read_bytes()))
        items["orders-1.4.0/PKG-INFO"] = with_field(items["orders-1.4.0/PKG-INFO"], "Version", version)
        path.write_bytes(gzip.compress(tar(items), mtime=0))
        return path


class Wheelhouse:
    """A tar with wheels and three indexes of them."""

    site = Wheel.site

    def edit(self, path: Path, change: Callable[[Items], None]) -> Path:
        items = tarred(path.read_bytes())
        self._swap(items, wheel_of(items, "wheels/orders-"), change)
        path.write_bytes(tar(items))
        return path

    def call_it(self, path: Path, version: str) -> Path:
        items = tarred(path.read_bytes())
        old = wheel_of(items, "wheels/orders-")
        self._swap(items, old, another_version(version), into=renamed(old, version))
        for index in ("pylock.toml", "requirements.txt", "wheelhouse.json", "README.txt"):
            items[index] = items[index].with_data(items[index].data.replace(b"1.4.0", version.encode()))
        path.write_bytes(tar(items))
        return path

    def drop(self, path: Path, dist: str) -> Path:
        items = tarred(path.read_bytes())
        gone = wheel_of(items, f"wheels/{dist}-")
        del items[gone]
        lines = items["requirements.txt"].data.splitlines(keepends=True)
        kept = b"".join(line for line in lines if not line.startswith(f"{dist}==".encode()))
        items["requirements.txt"] = items["requirements.txt"].with_data(kept)
        facts = json.loads(items["wheelhouse.json"].data)
        facts["wheels"] = [one for one in facts["wheels"] if f"wheels/{one['file']}" != gone]
        items["wheelhouse.json"] = items["wheelhouse.json"].with_data(json.dumps(facts, indent=1).encode())
        tables = items["pylock.toml"].data.decode().split("[[packages]]\n")
        text = "[[packages]]\n".join(table for table in tables if gone not in table)
        items["pylock.toml"] = items["pylock.toml"].with_data(text.encode())
        path.write_bytes(tar(items))
        return path

    def _swap(self, items: Items, old: str, change: Callable[[Items], None], into: str = "") -> None:
        """Put the changed wheel in the place of *old*, in all indexes too."""
        before = items.pop(old)
        after = before.with_data(rewheeled(before.data, change))
        items[into or old] = after
        sizes = {f"size = {len(before.data)}": f"size = {len(after.data)}", sha256(before.data): sha256(after.data)}
        for index in ("pylock.toml", "requirements.txt", "wheelhouse.json"):
            text = items[index].data.decode()
            start = text.find(old) if index == "pylock.toml" else 0
            head, tail = text[:start], text[start:]
            for was, is_ in sizes.items():
                tail = tail.replace(was, is_, 1)
            items[index] = items[index].with_data(
                (head + tail).replace(Path(old).name, Path(into or old).name).encode()
            )


class Pex:
    """A shebang, a zip with wheels, and PEX-INFO with their digests."""

    site = Wheel.site

    def edit(self, path: Path, change: Callable[[Items], None], version: str = "") -> Path:
        start, items = self._opened(path)
        info = json.loads(items[INFO].data)
        old = wheel_of(items, ".deps/orders-")
        new = renamed(old, version) if version else old
        wheel = items.pop(old)
        items[new] = wheel.with_data(rewheeled(wheel.data, change))
        del info["distributions"][Path(old).name]
        info["distributions"][Path(new).name] = sha256(items[new].data)
        if version:
            info["build_properties"]["version"] = version
        return self._packed(path, start, items, info)

    def call_it(self, path: Path, version: str) -> Path:
        return self.edit(path, another_version(version), version)

    def drop(self, path: Path, dist: str) -> Path:
        start, items = self._opened(path)
        info = json.loads(items[INFO].data)
        gone = wheel_of(items, f".deps/{dist}-")
        del items[gone], info["distributions"][Path(gone).name]
        info["requirements"] = [one for one in info["requirements"] if not one.startswith(f"{dist}==")]
        return self._packed(path, start, items, info)

    @staticmethod
    def _opened(path: Path) -> tuple[bytes, Items]:
        data = path.read_bytes()
        return data[: data.index(b"PK\3\4")], unzipped(data)

    @staticmethod
    def _packed(path: Path, start: bytes, items: Items, info: dict[str, Any]) -> Path:
        if info != json.loads(items[INFO].data):
            items[INFO] = items[INFO].with_data(json.dumps(info, sort_keys=True).encode())
        path.write_bytes(zipped(items, start))
        return path


class Deb:
    """An ar of two tars; md5sums and the RECORD of the installed distribution name every file."""

    site = Wheel.site

    def edit(self, path: Path, change: Callable[[Items], None]) -> Path:
        control, data = self._opened(path)
        below(data, self.site, recorded_after(change))
        return self._packed(path, control, data)

    def call_it(self, path: Path, version: str) -> Path:
        control, data = self._opened(path)
        control["control"] = with_field(control["control"], "Version", f"{version}-1+deb12")
        below(data, self.site, recorded_after(another_version(version)))
        return self._packed(path, control, data)

    def drop(self, path: Path, dist: str) -> Path:
        control, data = self._opened(path)
        below(data, self.site, without(dist))
        return self._packed(path, control, data)

    @staticmethod
    def _opened(path: Path) -> tuple[Items, Items]:
        package = debs.read(path)
        control = {
            name: Item(text, 0o755 if text.startswith(b"#!") else 0o644) for name, text in package.controls.items()
        }
        data = {
            member.path + ("/" if member.kind == "folder" else ""): Item(stream.read(), member.mode, member.link)
            for member, stream in package.members()
            if member.path
        }
        return control, data

    @staticmethod
    def _packed(path: Path, control: Items, data: Items) -> Path:
        conffiles = control["conffiles"].data.decode().split()
        sums = [
            f"{hashlib.md5(item.data, usedforsecurity=False).hexdigest()}  {name}\n"
            for name, item in sorted(data.items())
            if not item.link and not name.endswith("/") and f"/{name}" not in conffiles
        ]
        control["md5sums"] = Item("".join(sums).encode())
        packer = zstandard.ZstdCompressor(level=1)
        members = {"debian-binary": b"2.0\n", "control.tar": tar(control), "data.tar.zst": packer.compress(tar(data))}
        headed = (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(body):<10}`\n".encode() + body + b"\n" * (len(body) % 2)
            for name, body in members.items()
        )
        path.write_bytes(b"!<arch>\n" + b"".join(headed))
        return path


class Oci:
    """Layers, named by digest in a configuration and a manifest, and those in two tables of contents."""

    site = Wheel.site

    def edit(self, path: Path, change: Callable[[Items], None]) -> Path:
        return self._edit(path, "orders/app.py", recorded_after(change))

    def drop(self, path: Path, dist: str) -> Path:
        return self._edit(path, f"{dist}/__init__.py", without(dist))

    def call_it(self, path: Path, version: str) -> Path:
        def say(manifest: dict[str, Any], config: dict[str, Any]) -> None:
            for labels in (manifest["annotations"], config["config"]["Labels"]):
                labels["org.opencontainers.image.version"] = version

        return self._edit(path, "orders/app.py", recorded_after(another_version(version)), say)

    def _edit(
        self,
        path: Path,
        held: str,
        change: Callable[[Items], None],
        say: Callable[[dict[str, Any], dict[str, Any]], None] | None = None,
    ) -> Path:
        """Change the layer that holds the file *held*, and *say* something else about the image."""
        parts = parts_of(path)
        _, manifest, config = described(parts)
        for number, layer in reversed(list(enumerate(manifest["layers"]))):  # the application is on top
            items = tarred(plain(parts[place(layer["digest"])]))
            if self.site + held in items:
                below(items, self.site, change)
                self._swap(parts, layer, config, number, tar(items))
                break
        if say:
            say(manifest, config)
        replace_all(parts, manifest, config)
        with path.open("wb") as out:
            write_tar(out, [Member(path=name, source=data) for name, data in parts.items()])
        return path

    @staticmethod
    def _swap(parts: Parts, layer: dict[str, Any], config: dict[str, Any], number: int, data: bytes) -> None:
        packed = gzip.compress(data, 1, mtime=0) if layer["mediaType"] == LAYER[0] else data
        del parts[place(layer["digest"])]
        layer.update(digest=f"sha256:{sha256(packed)}", size=len(packed))
        parts[place(layer["digest"])] = packed
        config["rootfs"]["diff_ids"][number] = f"sha256:{sha256(data)}"


FORMATS: dict[str, Format] = {
    "wheel": Wheel(),
    "sdist": Sdist(),
    "wheelhouse": Wheelhouse(),
    "pex": Pex(),
    "deb": Deb(),
    "oci": Oci(),
}
CARRIERS: dict[str, Carrier] = {"wheelhouse": Wheelhouse(), "pex": Pex(), "deb": Deb(), "oci": Oci()}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def renamed(wheel: str, version: str) -> str:
    """The name of a wheel of another version."""
    return re.sub(r"(orders-)[^-]+(-py3)", rf"\g<1>{version}\g<2>", wheel)


def wheel_of(items: Items, start: str) -> str:
    return next(name for name in items if name.startswith(start) and name.endswith(".whl"))


def below(items: Items, folder: str, change: Callable[[Items], None]) -> None:
    """Apply *change* to what is below *folder*, by its path from there."""
    inside = {name.removeprefix(folder): items.pop(name) for name in list(items) if name.startswith(folder)}
    change(inside)
    items.update({folder + name: item for name, item in inside.items()})


def without(dist: str) -> Callable[[Items], None]:
    """Removes every file and folder of the distribution *dist*."""

    def change(items: Items) -> None:
        for name in [name for name in items if re.match(rf"{dist}[/-]", name)]:
            del items[name]

    return change


def another_version(version: str) -> Callable[[Items], None]:
    """Makes the project's own files those of *version*."""

    def change(items: Items) -> None:
        for name in [name for name in items if name.startswith("orders-1.4.0.dist-info/")]:
            items[name.replace("1.4.0", version, 1)] = items.pop(name)
        metadata = f"orders-{version}.dist-info/METADATA"
        items[metadata] = with_field(items[metadata], "Version", version)

    return change


def with_field(item: Item, name: str, value: str) -> Item:
    return item.with_data(re.sub(rf"(?m)^{name}: .*$", f"{name}: {value}", item.data.decode(), count=1).encode())


def recorded_after(change: Callable[[Items], None]) -> Callable[[Items], None]:
    """*change*, and then a RECORD of the project that is true again."""

    def both(items: Items) -> None:
        change(items)
        own = next(name for name in items if re.fullmatch(r"orders-[^/]+\.dist-info/RECORD", name))
        mine = (name for name in items if re.match(r"orders(-[^/]+\.dist-info)?/.*[^/]$", name) and name != own)
        rows = [f"{name},sha256={urlsafe(items[name].data)},{len(items[name].data)}\n" for name in mine]
        elsewhere = [row for row in items[own].data.decode().splitlines(keepends=True) if row.startswith("../")]
        items[own] = items[own].with_data("".join(sorted([*elsewhere, *rows, f"{own},,\n"])).encode())

    return both


def urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def rewheeled(data: bytes, change: Callable[[Items], None]) -> bytes:
    """The wheel, changed; the very same bytes when nothing was."""
    items, before = unzipped(data), unzipped(data)
    change(items)
    if items == before:
        return data
    recorded_after(lambda _: None)(items)
    return zipped(items)


def unzipped(data: bytes) -> Items:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {one.filename: Item(archive.read(one), (one.external_attr >> 16) & 0o7777) for one in archive.infolist()}


def zipped(items: Items, start: bytes = b"") -> bytes:
    out = io.BytesIO(start)
    out.seek(len(start))
    with zipfile.ZipFile(out, "a" if start else "w") as archive:
        for name, item in items.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            kind = 0o040000 if name.endswith("/") else 0o100000
            info.external_attr = (kind | item.mode) << 16
            archive.writestr(info, item.data)
    return out.getvalue()


def tarred(data: bytes) -> Items:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        return {
            one.name + ("/" if one.isdir() else ""): Item(
                (archive.extractfile(one) or io.BytesIO()).read() if one.isreg() else b"", one.mode, one.linkname
            )
            for one in archive
        }


def tar(items: Items) -> bytes:
    out = io.BytesIO()
    write_tar(out, [Member(path=n, mode=i.mode, source=i.data, link=i.link) for n, i in items.items()])
    return out.getvalue()


def plain(data: bytes) -> bytes:
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
