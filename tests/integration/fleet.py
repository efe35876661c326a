"""A fleet as operators have it: systemd hosts that ssh reaches, haproxy in front, a database; a network of their own.

The hosts have no compiler, no installer of Python packages and no way out. Their host keys are known and checked.
Nothing stays when the context ends.
"""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import docker

from tests.integration import databases, hosts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from docker.models.networks import Network

__all__ = ["BALANCER", "DOCKER", "IMAGE", "PODMAN", "SOCKET", "Engine", "Fleet", "Node", "running"]

_REACHED: Final = ("systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "procps", "iproute2")
IMAGE: Final = hosts.Image(name="fleet-host", packages=(*_REACHED, "python3", "python3.11", "gpgv"))
BALANCER: Final = hosts.Image(name="fleet-balancer", packages=(*_REACHED, "python3", "haproxy"))
SOCKET: Final = "/run/haproxy/admin.sock"

HAPROXY: Final = """\
global
    stats socket {socket} mode 600 level admin
    maxconn 2000
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    timeout http-keep-alive 10s
    # A connection that no server took is tried with another one; a request that one took is never sent again.
    retries 3
    option redispatch 1
frontend web
    bind :80
    default_backend {backend}
backend {backend}
    balance roundrobin
    option httpchk GET /health
    http-check expect status 200
    default-server check inter 500ms fall 2 rise 1
{servers}
"""

# The engine drops what leaves the network, and yet shows a way out, and a name server, on which programs hang.
ALONE: Final = """
ip route del default
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
cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub
"""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A host that can run containers: what its image is made of, and what the container that it is may do."""

    image: hosts.Image
    options: Mapping[str, Any]


def _engine(name: str, *packages: str, kept: str, **options: Any) -> Engine:
    """A host with an engine that keeps its images below *kept*: on a disk of its own, as layers need one."""
    return Engine(
        image=hosts.Image(name=f"fleet-{name}", packages=(*IMAGE.packages, *packages)),
        options={
            "cap_add": ["ALL"],
            "cap_drop": ["SYS_RESOURCE"],
            "security_opt": ["seccomp=unconfined"],
            "volumes": {"/sys/fs/cgroup": {"bind": "/sys/fs/cgroup", "mode": "rw"}},
            "mounts": [docker.types.Mount(target=kept, source=None, type="volume")],
            **options,
        },
    )


DOCKER: Final = _engine("docker", "docker.io", "iptables", kept="/var/lib/docker")
PODMAN: Final = _engine(
    *("podman", "podman", "runc"),
    kept="/var/lib/containers",
    ulimits=[docker.types.Ulimit(name=name, soft=1024, hard=1024) for name in ("nofile", "nproc")],
)


@dataclass(frozen=True)
class Node(hosts.Host):
    """A host of the fleet."""

    name: str = ""
    ip: str = ""

    def reachable(self) -> bool:
        """Whether its sshd says hello."""
        with contextlib.suppress(OSError), socket.create_connection((self.ip, 22), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
        return False


@dataclass(frozen=True)
class Fleet:
    """What runs. *nodes* are all hosts by name, *hosts* those with the application."""

    folder: Path
    network: Network
    nodes: Mapping[str, Node]
    hosts: Mapping[str, Node]
    backend: str
    database: databases.Server | None = None
    _cut: set[str] = field(default_factory=set)

    @property
    def balancer(self) -> Node:
        return self.nodes["lb"]

    @property
    def inventory(self) -> Path:
        """All hosts, as root."""
        return self.inventory_of()

    @property
    def key(self) -> Path:
        """The private key that all users of all hosts accept."""
        return self.folder / "key"

    @property
    def ssh(self) -> tuple[str, ...]:
        """The options of ssh."""
        return (
            *("-F", "/dev/null", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
            *("-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={self.folder}/known_hosts"),
            *("-o", "ConnectTimeout=5", "-o", "ServerAliveInterval=3", "-o", "ServerAliveCountMax=2"),
            *("-o", f"ControlPath={self.folder}/%C"),
        )

    def inventory_of(
        self, *names: str, user: str = "root", key: Path | None = None, more: Mapping[str, str] | None = None
    ) -> Path:
        """An inventory of the application's hosts *names* (all when none is named) for somebody who comes as *user*.
        *more* hosts, by name, have the address that is given.
        """
        chosen = {name: self.hosts[name].ip for name in names or self.hosts} | dict(more or {})
        others = {name: node.ip for name, node in self.nodes.items() if name == "lb"}
        lines = ["[app]", *(f"{name} ansible_host={ip}" for name, ip in chosen.items())]
        lines += ["", "[balancer]", *(f"{name} ansible_host={ip}" for name, ip in others.items())]
        lines += [
            *("", "[all:vars]", f"ansible_user={user}", f"ansible_ssh_private_key_file={key or self.key}"),
            f'ansible_ssh_common_args="{" ".join(self.ssh)}"',
            "ansible_python_interpreter=/usr/bin/python3",
            *(["ansible_become=true"] if user != "root" else []),
        ]
        place = Path(tempfile.mkdtemp(dir=self.folder, prefix="inventory-")) / "hosts.ini"
        place.write_text("\n".join(lines) + "\n")
        return place

    def too_much(self, name: str) -> str:
        """What that host must not have; its one route is that to its neighbours."""
        rows = self.nodes[name].too_much().splitlines()
        return "\n".join(row for row in rows if row.split()[2:3] != ["00000000"])

    def cut(self, name: str) -> None:
        """Take the cable out."""
        self.network.disconnect(self.nodes[name].container, force=True)
        self._cut.add(name)

    def join(self, name: str) -> None:
        """Put it back in; the address is the same."""
        node = self.nodes[name]
        self.network.connect(node.container, ipv4_address=node.ip)
        node.sh(ALONE)
        self._cut.discard(name)
        hosts.until(node.reachable, told=node.told)

    def pause(self, name: str) -> None:
        """Let the host hang: it does nothing, and ends no connection."""
        container = self.nodes[name].container

        def frozen() -> bool:
            # While processes come and go, the engine does not get hold of all of them.
            with contextlib.suppress(docker.errors.APIError):
                container.pause()
            container.reload()
            return bool(container.status == "paused")

        hosts.until(frozen)

    def unpause(self, name: str) -> None:
        """Let it go on."""
        node = self.nodes[name]
        node.container.unpause()
        hosts.until(node.reachable, told=node.told)

    def power_off(self, name: str) -> None:
        """Now, whatever it does."""
        self.nodes[name].container.kill("KILL")
        self.nodes[name].container.wait()

    def power_on(self, name: str) -> None:
        """Start it again, until ssh answers; its units may still be starting."""
        node = self.nodes[name]
        node.container.start()
        node.sh(ALONE)
        hosts.until(node.reachable, told=node.told)

    def power_cut(self, name: str) -> None:
        """Off and on."""
        self.power_off(name)
        self.power_on(name)

    def servers(self) -> Mapping[str, str]:
        """What the balancer thinks of each host: UP, DOWN, DRAIN…"""
        rows = [row.split(",") for row in self.ask_balancer("show stat").splitlines()]
        return {row[1]: row[17] for row in rows if row[0] == self.backend and row[1] in self.hosts}

    def ask_balancer(self, command: str) -> str:
        """What haproxy answers to a *command* on its socket."""
        script = (
            "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
            "s.sendall(sys.argv[2].encode()+b'\\n'); print(s.makefile().read(), end='')"
        )
        return self.balancer.run("/usr/bin/python3", "-c", script, SOCKET, command)

    def web(self, folder: Path, *, port: int = 8080) -> str:
        """Serve a copy of *folder* to the fleet, over HTTP; answers the URL. Once more: what is there now."""
        place = f"/srv/web-{port}"
        self.balancer.sh(f"rm -rf {place}.new; mkdir -p {place}.new")
        shown = self.balancer.put(folder, f"{place}.new")
        self.balancer.sh(f"mkdir -p {place}; rm -rf {place}/site; mv {shown} {place}/site; rm -r {place}.new")
        serve = f"/usr/bin/python3 -m http.server --directory {place}/site {port}"
        self.balancer.sh(
            f"systemctl is-active -q web-{port} && systemctl stop web-{port}; systemd-run -q --unit=web-{port} {serve}"
        )
        url = f"http://{self.balancer.ip}:{port}"
        hosts.until(lambda: self.balancer.succeeds("bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"))
        return url


def _network(client: docker.DockerClient) -> Network:
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


def _folder() -> Path:
    # Sockets are made in it: their paths may have 108 bytes, those of pytest are longer.
    folder = Path(tempfile.mkdtemp(prefix="fleet-"))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "fleet", "-f", folder / "key"], check=True)
    return folder


@contextlib.contextmanager
def _node(name: str, image: hosts.Image, network: Network, ip: str, **options: Any) -> Iterator[Node]:
    """A host in the network."""
    place = network.client.api.create_endpoint_config(ipv4_address=ip, aliases=[name])
    settings = {"network": network.name, "networking_config": {network.name: place}, "hostname": name, **options}
    settings["cap_add"] = [*settings.get("cap_add", ()), "NET_ADMIN"]
    with hosts.running(image.tag(), systemd=True, **settings) as host:
        node = Node(host.container, host.python, name, ip)
        try:
            yield node
        finally:
            node.container.reload()
            if node.container.status == "paused":
                node.container.unpause()


@contextlib.contextmanager
def running(
    count: int,
    *,
    balancer: bool = True,
    engines: Mapping[str, Engine] | None = None,
    others: Collection[str] = (),
    database: bool = False,
    backend: str = "beat",
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[Fleet]:
    """*count* hosts h1, h2… and those of *engines*, all of the group ``app``; ``lb`` balances over them.

    *others* are hosts beside the application; *options* go to the container of the host that is named.
    """
    images = {f"h{number}": IMAGE for number in range(1, count + 1)}
    images |= {name: one.image for name, one in (engines or {}).items()}
    apps = tuple(images)
    images |= dict.fromkeys(others, IMAGE) | ({"lb": BALANCER} if balancer else {})
    given = {**{name: one.options for name, one in (engines or {}).items()}, **(options or {})}
    folder = _folder()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        client = stack.enter_context(hosts.engine())
        network = _network(client)
        stack.callback(network.remove)
        addresses = ipaddress.ip_network(network.attrs["IPAM"]["Config"][0]["Subnet"]).hosts()
        next(addresses)  # the engine's own
        free = {name: str(next(addresses)) for name in (*images, "db")}
        lock = threading.Lock()

        def start(name: str) -> Node:
            made = _node(name, images[name], network, free[name], **given.get(name, {}))
            node = made.__enter__()
            with lock:
                stack.push(made.__exit__)
            node.sh(ALONE)
            said = node.run("sh", "-euc", PREPARE, "-", (folder / "key.pub").read_text().strip())
            with lock, (folder / "known_hosts").open("a") as known:
                known.write(f"{node.ip} {said}")
            return node

        for image in dict.fromkeys(images.values()):
            image.tag()
        with ThreadPoolExecutor(4) as pool:
            nodes = {node.name: node for node in pool.map(start, images)}
        server = stack.enter_context(databases.running(network, free["db"])) if database else None
        fleet = Fleet(folder, network, nodes, {name: nodes[name] for name in apps}, backend, server)
        if balancer:
            _balance(fleet)
        stack.callback(_hang_up, folder)
        for node in nodes.values():
            hosts.until(node.reachable, told=node.told)
        yield fleet


def _balance(fleet: Fleet) -> None:
    """haproxy, as its Debian package starts it."""
    servers = "\n".join(f"    server {name} {node.ip}:8000" for name, node in fleet.hosts.items())
    text = HAPROXY.format(socket=SOCKET, backend=fleet.backend, servers=servers)
    fleet.balancer.run("sh", "-euc", 'printf "%s" "$1" >/etc/haproxy/haproxy.cfg', "-", text)
    fleet.balancer.sh("systemctl restart haproxy")


def _hang_up(folder: Path) -> None:
    """End the connections that ssh keeps for the next command."""
    for place in folder.glob("*"):
        if place.is_socket():
            subprocess.run(["ssh", "-O", "exit", "-S", place, "fleet"], check=False, capture_output=True)
