"""The lock: three files that hold every Python file and OS package a release may use, each with its sha256.

``pylock.toml`` (PEP 751, one set for all targets), ``pylock.build.toml`` (PEP 751, build requirements in one
dependency group per sdist, and the groups ``project`` and ``tools``), ``debs.lock.toml`` (OS packages). uv
resolves, apt resolves, this package selects: what a target takes follows from its tags and markers alone, on
any machine.
"""

from __future__ import annotations

from buildonce.lock.build import Asked
from buildonce.lock.compiles import Compiles, report
from buildonce.lock.making import make
from buildonce.lock.state import FILES, Lock, read

__all__ = ["FILES", "Asked", "Compiles", "Lock", "make", "read", "report"]
