"""OS packages: apt resolves them at lock time, this package locks, reads and selects them. No dpkg, no root.

:mod:`~buildonce.debs.lock` asks apt and keeps ``debs.lock.toml``; :mod:`~buildonce.debs.deb` reads a package;
:func:`~buildonce.debs.closure.closure` picks what a set of packages needs out of the locked ones.
"""

from __future__ import annotations

from buildonce.debs.closure import closure

__all__ = ["closure"]
