"""A registry for a test module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buildonce.system.net import Net
from tests import registries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.registries import Running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Plain HTTP, for everybody."""
    with registries.running(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
def net() -> Iterator[Net]:
    made = Net(patience=3, pause=0.01, timeout=10)
    yield made
    made.close()
