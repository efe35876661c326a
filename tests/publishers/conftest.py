"""A small signed release on its way to a destination."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buildonce import publishing
from buildonce.signing import release as releases

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.publishers import Outgoing
    from buildonce.signing import Key


@pytest.fixture
def release(signed: Path, key: Key) -> Outgoing:
    """The small release on its way."""
    return publishing.outgoing(signed, releases.verify(signed, [key.public]))
