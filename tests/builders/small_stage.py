"""A small honest stage for packers: real wheels, planted as the pipeline does it, in a real build root."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import parse_wheel_filename

from buildonce import target as targets
from buildonce import tree
from buildonce.model import Digest, Source, Tree, Version, Wheel, Wheelhouse
from buildonce.stage import Stage
from buildonce.system import files
from buildonce.system.store import Store
from tests import small_project, wheelmaker
from tests.oci.image_stage import REAL, download, runner, store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buildonce.model import Change

__all__ = ["COMMIT", "EPOCH", "VERSION", "app_wheel", "bare", "download", "runner", "stage", "wheel"]

COMMIT = "1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d"
EPOCH = 1_700_000_000
VERSION = Version(pep440="1.2.4.dev5+g1a2b3c4", debian="1.2.4~~dev5+g1a2b3c4", oci="1.2.4.dev5_g1a2b3c4")
_PEX = "pex==2.105.2"

_APP = '''"""Prints its name, or serves on the port 8080 with the argument "serve"."""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

import click
import markupsafe


class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"well")


def main():
    if "serve" in sys.argv:
        HTTPServer(("127.0.0.1", 8080), Health).serve_forever()
    print("tinyapp", click.__name__, markupsafe.escape("<"), *sys.argv[1:])
'''


def app_wheel(into: Path, *, scripts: Sequence[str] = ("tinyapp",), version: str = VERSION.pep440) -> Path:
    """The project's own wheel, with console scripts."""
    called = dict.fromkeys(scripts, "tinyapp:main")
    return wheelmaker.make(into, {"tinyapp/__init__.py": _APP}, name="tinyapp", version=version, scripts=called)


def stage(path: Path, **facts: Any) -> Stage:
    """The stage of ``tinyapp`` in the new folder *path*, with its Tree and tools."""
    made = bare(path, **{"wheels": download(*REAL), **facts})
    planted = tree.plant(
        made.wheelhouse.wheels,
        target=made.target,
        prefix=made.prefix,
        runner=runner(),
        store=store(),
        into=path / "tree",
        root_key=runner().root.name,
    )
    return replace(made, tree=planted, tools=tuple(map(wheel, download(_PEX))))


def bare(
    path: Path,
    *,
    scripts: Sequence[str] = ("tinyapp",),
    settings: Mapping[str, Any] | None = None,
    changes: Sequence[Change] = (),
    wheels: Sequence[Path] = (),
    version: Version = VERSION,
    **project: Any,
) -> Stage:
    """The same without Tree and tools: enough to render from, and made without a build root."""
    target = targets.load("debian-12")
    own = wheel(app_wheel(path / "wheels", scripts=scripts, version=version.pep440))
    copies = [Path(shutil.copy(wheel, path / "wheels")) for wheel in wheels]
    house = tuple(sorted((own, *map(wheel, copies)), key=lambda w: w.name))
    return Stage(
        path=path,
        project=small_project.project(
            path, settings=settings, **{"urls": (("Homepage", "https://tinyapp.example.org/"),), **project}
        ),
        source=Source(commit=COMMIT, tree=COMMIT, epoch=EPOCH, tag="", url="", dirty=None, changes=tuple(changes)),
        version=version,
        target=target,
        wheelhouse=Wheelhouse(target=target, wheels=house),
        own=own,
        own_target="",
        sdist=path / "none",
        tools=(),
        tree=Tree(entries=()),
        debs=(),
        deb_files=(),
        runtime=(),
        scripts=tuple(sorted(scripts)),
        store=Store(path / "store"),
        digest=Digest("0" * 64),
    )


def wheel(path: Path) -> Wheel:
    name, version, *_ = parse_wheel_filename(path.name)
    return Wheel(name=name, version=str(version), path=path, sha256=files.sha256_file(path), size=path.stat().st_size)
