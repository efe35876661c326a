"""The hosts of these tests really lack what they are said to lack: the look that says so sees what is there."""

from __future__ import annotations

import pytest

from tests.integration import hosts


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("install -m 755 /dev/null /usr/bin/gcc", "/usr/bin/gcc"),
        ("install -D -m 755 /dev/null /usr/lib/gcc/x86_64-linux-gnu/12/cc1", "/usr/lib/gcc/x86_64-linux-gnu/12/cc1"),
        ("install -m 755 /dev/null /usr/local/bin/uv", "/usr/local/bin/uv"),
        ("mkdir -p /usr/lib/python3/dist-packages/setuptools", "/usr/lib/python3/dist-packages/setuptools"),
        ("mkdir -p /opt/pip-26.3.dist-info", "/opt/pip-26.3.dist-info"),
    ],
)
def test_one_thing_too_much_is_seen(made: str, said: str) -> None:
    with hosts.running(hosts.HOST.tag(), command=hosts.IDLE, init=True) as host:
        assert host.too_much() == ""
        host.sh(made)
        assert said in host.too_much().splitlines()


def test_a_network_is_seen() -> None:
    with hosts.running(hosts.HOST.tag(), command=hosts.IDLE, init=True, network_mode="bridge") as host:
        assert host.too_much().startswith("eth0\t")
