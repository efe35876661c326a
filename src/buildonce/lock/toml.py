"""Reads TOML that others wrote."""

from __future__ import annotations

import tomllib
from typing import Any

from buildonce.errors import LockError

__all__ = ["parse"]


def parse(data: bytes, where: str) -> dict[str, Any]:
    """*data* as TOML. Raises :class:`LockError` with line and column when it is none."""
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LockError(f"{where} cannot be read: {error}", where=where, hint="mend it, or make it again") from error
