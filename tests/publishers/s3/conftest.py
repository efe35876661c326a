"""Buckets, seen directly and through a network that may fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import buckets, faults
from tests.publishers import making
from tests.publishers.s3_sites import S3Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buildonce.publishers import Outgoing
    from buildonce.signing import Key
    from tests.faults import Proxy


@pytest.fixture
def site(key: Key) -> S3Site:
    return S3Site(key)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with faults.proxy(buckets.server().url) as made:
        yield made


@pytest.fixture
def behind(key: Key, proxy: Proxy) -> S3Site:
    """A bucket that is written through the proxy."""
    return S3Site(key, url=proxy.url)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Outgoing:
    """A release of four files."""
    return making.release(tmp_path_factory.mktemp("small") / "tinyapp")
