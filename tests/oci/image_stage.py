"""A stage for images: real wheels planted in a real build root, from OS packages that apt resolved and that
were fetched.

All of it is kept in one store (``BUILDONCE_TEST_STORE``, or the user's cache folder), so that only the first
run is slow.
"""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import parse_wheel_filename
from platformdirs import user_cache_path

from buildonce import buildroot, fetch, tree
from buildonce import target as targets
from buildonce.debs import lock as debs
from buildonce.model import Digest, Source, Version, Wheel, Wheelhouse
from buildonce.oci import packages
from buildonce.stage import Stage
from buildonce.system import files
from buildonce.system.console import SilentProgress
from buildonce.system.net import Net
from buildonce.system.run import HostRunner
from buildonce.system.store import Store
from tests import small_project

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buildonce.model import DebPin

EPOCH = 1_700_000_000
VERSION = Version(pep440="1.2.4.dev5+g1a2b3c4", debian="1.2.4~~dev5+g1a2b3c4", oci="1.2.4.dev5_g1a2b3c4")
REAL = ("click==8.1.7", "markupsafe==2.1.5")
TARGET = "debian-12"
SERVICE: Mapping[str, Any] = {
    "service": {"command": "shop serve", "port": 8080, "environment": {"SHOP_GREETING": "good morning"}}
}

APP = '''"""Serves what it knows about where it runs, on the port 8080."""

import ctypes.util, json, os, sqlite3, ssl, sys, zoneinfo
from http.server import BaseHTTPRequestHandler, HTTPServer

import click
import markupsafe


def facts():
    return {
        "uid": os.getuid(),
        "pid": os.getpid(),
        "prefix": sys.prefix,
        "greeting": os.environ.get("SHOP_GREETING"),
        "certificates": len(ssl.create_default_context().get_ca_certs()),
        "zone": str(zoneinfo.ZoneInfo("Europe/Paris")),
        "libc": ctypes.util.find_library("c"),
        "speedups": markupsafe._speedups.__name__,
        "stdlib": json.__cached__,
        "compiled": all(os.path.exists(path) for path in (json.__cached__, click.__cached__, __cached__)),
        "writable": os.access(__file__, os.W_OK),
    }


class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if self.path == "/ill" else 200)
        self.end_headers()
        self.wfile.write(json.dumps(facts()).encode())


def main():
    if sys.argv[1:] == ["serve"]:
        HTTPServer(("0.0.0.0", 8080), Health).serve_forever()
    print(json.dumps(facts()))
'''


@cache
def store() -> Store:
    given = os.environ.get("BUILDONCE_TEST_STORE")
    return Store(Path(given) if given else user_cache_path("buildonce") / "test-store")


@cache
def os_packages() -> tuple[tuple[DebPin, ...], tuple[Path, ...]]:
    """The locked OS packages of the target, with libpq for a wheel that needs a library of the system."""
    target = targets.load(TARGET)
    path = store().root / "test-debs.lock.toml"
    asked = (*target.toolchain, *target.runtime, "libpq5")
    if not path.is_file():
        pins = debs.resolve(target, asked, HostRunner(), state=store().root / "test-apt")
        debs.write(path, {target.name: pins}, {target.name: debs.question(target, asked)})
    pins = debs.read(path, target)
    with closing(Net()) as net:
        found = fetch.fetch([pin.file for pin in pins], store=store(), net=net, progress=SilentProgress())
    return pins, tuple(found[pin.file.sha256] for pin in pins)


@cache
def runner() -> buildroot.RootRunner:
    target, (pins, paths) = targets.load(TARGET), os_packages()
    return buildroot.RootRunner(buildroot.ensure(target, pins, paths, store(), progress=SilentProgress()), HostRunner())


@cache
def download(*requirements: str, machine: str = "x86_64") -> tuple[Path, ...]:
    """The wheels of *requirements* for the target, or for another machine."""

    def make(into: Path) -> None:
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--python-version=3.11"]
        platform = f"--platform=manylinux2014_{machine}"
        argv = [sys.executable, "-m", "pip", "download", *options, platform, "--dest", str(into)]
        subprocess.run([*argv, *requirements], check=True)

    place = store().folder("test-wheels", files.sha256_bytes(repr((requirements, machine)).encode()), make)
    return tuple(sorted(place.iterdir()))


def make_wheel(into: Path, name: str, version: str, contents: Mapping[str, str | bytes]) -> Path:
    """A wheel that holds *contents*, with a true RECORD."""
    info = f"{name}-{version}.dist-info"
    rows: dict[str, str | bytes] = {
        **contents,
        f"{info}/METADATA": f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    data = {path: text.encode() if isinstance(text, str) else text for path, text in rows.items()}
    record = "".join(f"{path},sha256={_urlsafe(one)},{len(one)}\n" for path, one in data.items())
    data[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    into.mkdir(parents=True, exist_ok=True)
    path = into / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for member, one in data.items():
            fact = zipfile.ZipInfo(member)
            fact.external_attr = 0o100644 << 16
            wheel.writestr(fact, one)
    return path


def _urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def stage(
    path: Path,
    *,
    source: str = APP,
    scripts: Sequence[str] = ("shop",),
    settings: Mapping[str, Any] = SERVICE,
    wheels: Sequence[Path] | None = None,
    sbom: bytes = b'{"bomFormat":"CycloneDX"}',
) -> Stage:
    """The stage of ``shop`` in the new folder *path*."""
    target, version = targets.load(TARGET), VERSION.pep440
    entry_points = "[console_scripts]\n" + "".join(f"{script} = shop:main\n" for script in scripts)
    own = _wheel(
        make_wheel(
            path / "wheels",
            "shop",
            version,
            {"shop/__init__.py": source, f"shop-{version}.dist-info/entry_points.txt": entry_points},
        )
    )
    others = download(*REAL) if wheels is None else wheels
    house = tuple(sorted((own, *map(_wheel, others)), key=lambda wheel: wheel.name))
    pins, paths = os_packages()
    planted = tree.plant(
        house,
        target=target,
        prefix="/opt/venvs/shop",
        runner=runner(),
        store=store(),
        into=path / "tree",
        root_key=runner().root.name,
    )
    (path / "sbom.cdx.json").write_bytes(sbom)
    return Stage(
        path=path,
        project=small_project.project(
            path,
            name="shop",
            summary="Sells things.",
            urls=(("Homepage", "https://shop.example.org/"),),
            settings=settings,
        ),
        source=Source(
            commit="1a2b3c4" + "0" * 33,
            tree="0" * 40,
            epoch=EPOCH,
            tag="",
            url="https://example.org/shop",
            dirty=None,
        ),
        version=VERSION,
        target=target,
        wheelhouse=Wheelhouse(target=target, wheels=house),
        own=own,
        own_target="",
        sdist=path / "none",
        tools=(),
        tree=planted,
        debs=pins,
        deb_files=paths,
        runtime=packages.runtime(target, pins, paths, tree=planted, root=path / "tree", store=store()),
        scripts=tuple(sorted(scripts)),
        store=store(),
        digest=Digest("0" * 64),
    )


def _wheel(path: Path) -> Wheel:
    name, version, *_ = parse_wheel_filename(path.name)
    return Wheel(name=name, version=str(version), path=path, sha256=files.sha256_file(path), size=path.stat().st_size)
