"""The modules of the host program, which is no package: it runs as one file on hosts."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["FOLDER", "load", "plan"]

FOLDER = Path(__file__).resolve().parents[2] / "recipes/host"


def load(name: str) -> ModuleType:
    """The module *name* of it."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))  # last: its short names take nothing from others
    module = importlib.import_module(name)
    assert Path(str(module.__file__)).parent == FOLDER
    return module


def plan(**changes: Any) -> dict[str, Any]:
    """A plan as it comes from a controller, in JSON."""
    fields = {
        "schema": 1,
        "deployment": "20261003T101500Z-1a2b3c",
        "who": "ana@laptop",
        "name": "tinyapp",
        "mode": "deploy",
        "format": "deb",
        "source": "bundle",
        "version": "1.2.4.dev5+g1a2b3c4",
        "artifacts": {
            "debian-12": {
                "file": "tinyapp_1.2.4~~dev5+g1a2b3c4-1+deb12_amd64.deb",
                "sha256": "0" * 64,
                "size": 4,
                "package": "1.2.4~~dev5+g1a2b3c4-1+deb12",
                "image": "",
                "distribution": "debian",
                "release": "12",
                "codename": "bookworm",
                "architecture": "amd64",
                "interpreter": "/usr/bin/python3.11",
                "units": {},
            }
        },
        "apt": None,
        "service": {
            "user": "tinyapp",
            "port": 8000,
            "health": "/health",
            "migrate": "tinyapp migrate",
            "command": "tinyapp serve",
            "environment": {"MODE": "50%"},
            "writable": ["/srv/tinyapp"],
        },
        "engine": "",
        "check": {"timeout": 60, "successes": 3, "interval": 1, "settle": 3},
        "guard": 300,
        "lease": 600,
        "keep": 5,
        "floor": "",
        "downgrade": "",
    }
    return {**fields, **changes}
