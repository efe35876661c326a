"""Machines as operators have them: systemd is their init, ssh reaches them, and nothing leaves their network.

They have no compiler and no installer of Python packages.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import docker

from tests.integration import hosts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from docker.models.networks import Network

__all__ = ["BALANCER", "DOCKER", "IMAGE", "NEWER", "NEWER_PODMAN", "PODMAN", "Engine", "Node", "network", "running"]

_REACHED: Final = ("systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "procps", "iproute2")
IMAGE: Final = hosts.Image(name="fleet-host", packages=(*_REACHED, "python3", "python3.11", "gpgv"))
NEWER: Final = hosts.Image(  # where apt has sqv check signatures
    name="fleet-host", packages=(*_REACHED, "python3", "python3.13", "sqv"), target="debian-13"
)
BALANCER: Final = hosts.Image(name="fleet-balancer", packages=(*_REACHED, "python3", "haproxy"))

# The engine drops what leaves the network, and yet shows a way out, and a name server, on which programs hang.
ALONE: Final = """
ip route del default 2>/dev/null || true
echo nameserver 127.0.0.1 >/etc/resolv.conf
"""

# Users: one that may do all by sudo, one that may not.
PREPARE: Final = """
rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
for user in root ops poor; do
    [ $user = root ] || useradd --create-home --shell /bin/sh $user
    home=$(getent passwd $user | cut -d: -f6)
    install -d -m 700 -o $user -g $user $home/.ssh
    echo "$1" >$home/.ssh/authorized_keys
    chown $user:$user $home/.ssh/authorized_keys
done
if [ -d /etc/containers ]; then
    printf '[containers]\\ndefault_sysctls = []\\n' >/etc/containers/containers.conf
    # Ports are published by a switch of the kernel.
    unit=/etc/systemd/system/switches.service
    printf '[Service]\\nType=oneshot\\nExecStart=mount -o remount,rw /proc/sys\\n' >$unit
    printf '[Install]\\nWantedBy=sysinit.target\\n' >>$unit
    systemctl -q enable --now switches
fi
echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops
systemctl restart ssh
"""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A host that can run containers: what its image is made of, and what the container that it is may do."""

    image: hosts.Image
    options: Mapping[str, Any]


def _engine(name: str, base: hosts.Image, *packages: str, kept: str, **options: Any) -> Engine:
    """A host with an engine that keeps its images below *kept*: on a disk of its own, as layers need one."""
    return Engine(
        image=replace(base, name=f"fleet-{name}", packages=(*base.packages, *packages)),
        options={
            "cap_add": ["ALL"],
            "cap_drop": ["SYS_RESOURCE"],
            "security_opt": ["seccomp=unconfined"],
            "volumes": {"/sys/fs/cgroup": {"bind": "/sys/fs/cgroup", "mode": "rw"}},
            "mounts": [docker.types.Mount(target=kept, source=None, type="volume")],
            **options,
        },
    )


_PODMAN: Final[Mapping[str, Any]] = {
    "kept": "/var/lib/containers",
    "ulimits": [docker.types.Ulimit(name=name, soft=1024, hard=1024) for name in ("nofile", "nproc")],
}
DOCKER: Final = _engine("docker", IMAGE, "docker.io", "iptables", kept="/var/lib/docker")
PODMAN: Final = _engine("podman", IMAGE, "podman", "runc", **_PODMAN)
NEWER_PODMAN: Final = _engine("podman", NEWER, "podman", "runc", "nftables", **_PODMAN)


@dataclass(frozen=True)
class Node(hosts.Host):
    """A host of the fleet."""

    name: str = ""
    ip: str = ""

    def settle(self) -> None:
        """Bring it in order after it was connected: the engine writes its own anew."""
        self.sh(ALONE)

    def identity(self) -> str:
        """Its line of a known_hosts file."""
        said = self.run("cut", "-d ", "-f1,2", "/etc/ssh/ssh_host_ed25519_key.pub")
        return f"{self.ip} {said}"

    def reachable(self) -> bool:
        """Whether its sshd says hello."""
        with contextlib.suppress(OSError), socket.create_connection((self.ip, 22), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
        return False


def network(client: docker.DockerClient) -> Network:
    """A network with addresses to give: those that the engine finds free, as it says by making one."""
    while True:
        name = f"buildonce-test-{secrets.token_hex(6)}"
        tried = client.networks.create(name, internal=True, labels={hosts.LABEL: "network"})
        tried.reload()
        subnet = tried.attrs["IPAM"]["Config"][0]["Subnet"]
        tried.remove()
        pool = docker.types.IPAMPool(subnet=subnet)
        ipam = docker.types.IPAMConfig(pool_configs=[pool])
        with contextlib.suppress(docker.errors.APIError):  # another process has just taken them
            return client.networks.create(name, internal=True, labels={hosts.LABEL: "network"}, ipam=ipam)


@contextlib.contextmanager
def running(name: str, image: hosts.Image, where: Network, ip: str, key: str, **options: Any) -> Iterator[Node]:
    """A host at that address of the network *where*, whose users accept the public *key*."""
    place = where.client.api.create_endpoint_config(ipv4_address=ip, aliases=[name])
    settings = {"network": where.name, "networking_config": {where.name: place}, "hostname": name, **options}
    settings["cap_add"] = [*settings.get("cap_add", ()), "NET_ADMIN"]
    with hosts.running(image.tag(), systemd=True, target=image.target, **settings) as host:
        node = Node(host.container, host.python, name, ip)
        node.settle()
        node.run("sh", "-euc", PREPARE, "-", key)
        try:
            yield node
        finally:
            node.container.reload()
            if node.container.status == "paused":
                node.container.unpause()
