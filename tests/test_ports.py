"""The ports of the tests' servers stay theirs: otherwise a server that comes back fails by chance."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from tests import ports


def test_no_client_gets_it() -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split())
    found = {ports.free() for _ in range(200)}
    assert len(found) > 100, "tests side by side do not get the same"
    assert all(port >= ports.LOWEST and not low <= port <= high for port in found)


def test_no_server_has_it() -> None:
    """Of so many, some would be those of the servers."""
    with contextlib.ExitStack() as held:
        taken = {
            held.enter_context(socket.create_server(("127.0.0.1", ports.free()))).getsockname()[1] for _ in range(400)
        }
        assert taken.isdisjoint(ports.free() for _ in range(1000))
