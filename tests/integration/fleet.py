"""A fleet as operators have it: systemd hosts that ssh reaches, haproxy in front, a database; a network of their own.

The hosts have no compiler, no installer of Python packages and no way out. Their host keys are known and checked.
Nothing stays when the context ends.
"""

from __future__ import annotations

import contextlib
import ipaddress
import shutil
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import docker

from tests.integration import databases, hosts, machines
from tests.integration.machines import BALANCER, DOCKER, IMAGE, Engine, Node

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from docker.models.networks import Network

__all__ = ["BALANCER", "DOCKER", "IMAGE", "SOCKET", "Engine", "Fleet", "Node", "running"]

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


@dataclass(frozen=True)
class Fleet:
    """What runs. *nodes* are all hosts by name, *hosts* those with the application."""

    folder: Path
    network: Network
    nodes: Mapping[str, Node]
    hosts: Mapping[str, Node]
    backend: str
    database: databases.Server | None = None

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
        )

    def inventory_of(
        self, *names: str, user: str = "root", key: Path | None = None, more: Mapping[str, str] | None = None
    ) -> Path:
        """An inventory of the application's hosts *names* (all when none is named) for somebody who comes as *user*.
        *more* hosts, by name, have the address that is given.
        """
        place = Path(tempfile.mkdtemp(dir=self.folder, prefix="inventory-")) / "hosts.ini"
        # Who comes with another key must not go over the connection that this one opened.
        ssh = " ".join((*self.ssh, "-o", f"ControlPath={place.parent}/%C"))
        chosen = {name: self.hosts[name].ip for name in names or self.hosts} | dict(more or {})
        others = {name: node.ip for name, node in self.nodes.items() if name == "lb"}
        lines = ["[app]", *(f"{name} ansible_host={ip}" for name, ip in chosen.items())]
        lines += ["", "[balancer]", *(f"{name} ansible_host={ip}" for name, ip in others.items())]
        lines += [
            *("", "[all:vars]", f"ansible_user={user}", f"ansible_ssh_private_key_file={key or self.key}"),
            f'ansible_ssh_common_args="{ssh}"',
            "ansible_python_interpreter=/usr/bin/python3",
            *(["ansible_become=true"] if user != "root" else []),
        ]
        place.write_text("\n".join(lines) + "\n")
        return place

    def too_much(self, name: str) -> str:
        """What that host must not have; its one route is that to its neighbours."""
        rows = self.nodes[name].too_much().splitlines()
        return "\n".join(row for row in rows if row.split()[2:3] != ["00000000"])

    def cut(self, name: str) -> None:
        """Take the cable out."""
        self.network.disconnect(self.nodes[name].container, force=True)

    def join(self, name: str) -> None:
        """Put it back in; the address is the same."""
        node = self.nodes[name]
        self.network.connect(node.container, ipv4_address=node.ip)
        node.settle()
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
        node.settle()
        hosts.until(node.reachable, told=node.told)

    def power_cut(self, name: str) -> None:
        """Off and on."""
        self.power_off(name)
        self.power_on(name)

    def hang_up(self) -> None:
        """End the connections that ssh keeps for the next command."""
        for place in self.folder.glob("inventory-*/*"):
            if place.is_socket():
                subprocess.run(["ssh", "-O", "exit", "-S", place, "fleet"], check=False, capture_output=True)

    def servers(self) -> Mapping[str, str]:
        """What the balancer thinks of each host: UP, DOWN, DRAIN…"""
        return {name: self._row(name)[17] for name in self.hosts}

    def _row(self, name: str) -> list[str]:
        rows = (row.split(",") for row in self.ask_balancer("show stat").splitlines())
        return next(row for row in rows if row[:2] == [self.backend, name])

    def ask_balancer(self, command: str) -> str:
        """What haproxy answers to a *command* on its socket."""
        script = (
            "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
            "s.sendall(sys.argv[2].encode()+b'\\n'); print(s.makefile().read(), end='')"
        )
        return self.balancer.run("/usr/bin/python3", "-c", script, SOCKET, command)

    def drain(self, name: str) -> None:
        """Let the balancer send no more to the host; until nothing runs there."""
        self.ask_balancer(f"set server {self.backend}/{name} state drain")
        hosts.until(lambda: self._row(name)[4] == "0")

    def ready(self, name: str) -> None:
        """Let it send again; until it finds the host healthy."""
        self.ask_balancer(f"set server {self.backend}/{name} state ready")
        hosts.until(lambda: self.servers()[name] == "UP")

    def web(self, folder: Path, *, port: int = 8080) -> str:
        """Serve a copy of *folder* to the fleet, over HTTP; answers the URL. Once more: what is there now."""
        place = f"/srv/web-{port}"
        self.balancer.sh(f"rm -rf {place}.new; mkdir -p {place}.new")
        shown = self.balancer.put(folder, f"{place}.new")
        self.balancer.sh(f"mkdir -p {place}; rm -rf {place}/site; mv {shown} {place}/site; rm -r {place}.new")
        serve = f"/usr/bin/python3 -m http.server --directory {place}/site {port}"
        self.balancer.sh(f"systemctl stop web-{port} 2>/dev/null || true; systemd-run -q --unit=web-{port} {serve}")
        url = f"http://{self.balancer.ip}:{port}"
        hosts.until(lambda: self.balancer.succeeds("bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"))
        return url


def _folder() -> Path:
    # Sockets are made in it: their paths may have 108 bytes, those of pytest are longer.
    folder = Path(tempfile.mkdtemp(prefix="fleet-"))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "fleet", "-f", folder / "key"], check=True)
    return folder


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
    key = (folder / "key.pub").read_text().strip()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        client = stack.enter_context(hosts.engine())
        network = machines.network(client)
        stack.callback(network.remove)
        addresses = ipaddress.ip_network(network.attrs["IPAM"]["Config"][0]["Subnet"]).hosts()
        next(addresses)  # the engine's own
        free = {name: str(next(addresses)) for name in (*images, "db")}
        lock = threading.Lock()

        def start(name: str) -> Node:
            made = machines.running(name, images[name], network, free[name], key, **given.get(name, {}))
            node = made.__enter__()
            with lock:
                stack.push(made.__exit__)
            return node

        for image in dict.fromkeys(images.values()):
            image.tag()
        with ThreadPoolExecutor(4) as pool:
            nodes = {node.name: node for node in pool.map(start, images)}
        (folder / "known_hosts").write_text("".join(node.identity() for node in nodes.values()))
        server = stack.enter_context(databases.running(network, free["db"])) if database else None
        fleet = Fleet(folder, network, nodes, {name: nodes[name] for name in apps}, backend, server)
        if balancer:
            _balance(fleet)
        stack.callback(fleet.hang_up)
        for node in nodes.values():
            hosts.until(node.reachable, told=node.told)
        yield fleet


def _balance(fleet: Fleet) -> None:
    """haproxy, as its Debian package starts it."""
    servers = "\n".join(f"    server {name} {node.ip}:8000" for name, node in fleet.hosts.items())
    text = HAPROXY.format(socket=SOCKET, backend=fleet.backend, servers=servers)
    fleet.balancer.run("sh", "-euc", 'printf "%s" "$1" >/etc/haproxy/haproxy.cfg', "-", text)
    fleet.balancer.sh("systemctl restart haproxy")
