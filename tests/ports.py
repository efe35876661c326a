"""Ports of this machine for the servers of tests."""

from __future__ import annotations

import errno
import secrets
import socket
from pathlib import Path

LOWEST = 10000


def free() -> int:
    """A port that nobody listens on, and that no client gets either.

    The kernel's own choice (port 0) is one of those that it gives to clients, too. A server that comes back to such a
    port finds it taken now and then, for a minute after that client is gone: SO_REUSEADDR helps only where both sides
    set it (socket(7), ip(7): ``ip_local_port_range``).
    """
    clients = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()[0])
    assert clients > LOWEST + 1000, "no room is left below the ports of clients"
    while True:
        port = LOWEST + secrets.randbelow(clients - LOWEST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port
