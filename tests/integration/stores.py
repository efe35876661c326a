"""The store that ``release`` uses when it is run by these tests."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

from buildonce.system.store import Store

__all__ = ["usual"]


def usual() -> Store:
    """The store of whoever runs the tests: shared by all of them, so that only the first run is slow."""
    place = os.environ.get("BUILDONCE_STORE")
    return Store(Path(place) if place else user_cache_path("buildonce"))
