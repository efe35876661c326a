"""Containers that stay, in a network of their own in the Docker engine: all of one name is found by its label.

That network is internal: nobody in it reaches anything outside. Only a container with ports is on the engine's own
network too, and listens on 127.0.0.1 of its machine.
"""

from __future__ import annotations

import contextlib
import io
import tarfile
import time
from typing import TYPE_CHECKING, Any, Final

from buildonce.errors import BuildError
from buildonce.system import execution
from buildonce.system.engine import connected
from buildonce.system.placing import Found, Said, Service, Volume

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["LABEL", "Found", "Service", "Services", "Volume", "names", "opened"]

LABEL: Final = "org.buildonce.up"

_RUN: Final = f"{LABEL}.run"  # who made it, so that what an interrupted one made is removed and nothing else
_FACT: Final = f"{LABEL}.fact."
_LOOPBACK: Final = "127.0.0.1"
_BRIDGE: Final = "bridge"  # the engine's own network

# A container whose process 1 is systemd, with the least that units with a sandbox of their own need.
_INIT: Final = ("sh", "-c", 'mount --make-rshared / && exec /sbin/init "$@"', "init")
_LEGACY: Final = (
    "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"  # what systemd 256 and later want where cgroups are of version 1
)
_CGROUPS: Final = "/sys/fs/cgroup"


def names() -> tuple[str, ...]:
    """The names under which anything is there."""
    with connected() as client:
        found = [*client.containers(all=True, filters={"label": LABEL})]
        found += client.networks(filters={"label": LABEL})
        found += client.volumes(filters={"label": LABEL})["Volumes"] or ()
    return tuple(sorted({one["Labels"][LABEL] for one in found}))


@contextlib.contextmanager
def opened(name: str, run: str) -> Iterator[Services]:
    """What belongs to *name*; what is made now is marked as made by *run*."""
    with connected() as client:
        yield Services(client, name, run)


class Services:
    """All of one name: containers, their network and their volumes."""

    def __init__(self, client: Any, name: str, run: str) -> None:
        self._client, self.name = client, name
        self.network = f"release-{name}"
        self._labels = {LABEL: name, _RUN: run}

    def connect(self) -> bool:
        """Make the network unless it is there; answers whether it was made."""
        if self._client.networks(filters={"label": f"{LABEL}={self.name}"}):
            return False
        self._client.create_network(
            self.network, driver="bridge", internal=True, labels=self._labels, check_duplicate=True
        )
        return True

    def containers(self) -> tuple[Found, ...]:
        """All containers, sorted by role."""
        listed = self._client.containers(all=True, filters={"label": f"{LABEL}={self.name}"})
        found = (self.state(one["Id"]) for one in listed)
        return tuple(sorted((one for one in found if one), key=lambda one: one.role))

    def find(self, role: str) -> Found | None:
        """The container in *role*, if there is one."""
        return next((one for one in self.containers() if one.role == role), None)

    def start(self, service: Service, *, run: bool = True) -> Found:
        """Start a container, or unless *run* only make it; one that is in its role is to be removed before."""
        made = self._make(service)
        if run:
            with _explained(service):
                self._client.start(made)
        return self._there(made)

    def _make(self, service: Service) -> str:
        for volume in service.volumes:
            self._client.create_volume(self._name(volume.role), labels=self._labels)
        ports = {f"{inside}/tcp": (_LOOPBACK, port or None) for inside, port in service.ports.items()}
        first = _BRIDGE if ports else self.network
        attached = None if ports else {self.network: self._client.create_endpoint_config(aliases=service.aliases)}
        made = self._client.create_container(
            service.image,
            name=self._name(service.role),
            hostname=service.aliases[0] if service.aliases else service.role,
            entrypoint=list(service.entrypoint) or None,
            command=[*_INIT, _LEGACY] if service.systemd else list(service.command) or None,
            environment=dict(service.environment) | ({"container": "docker"} if service.systemd else {}),
            user=service.user or None,
            ports=[(inside, "tcp") for inside in service.ports],
            labels=self._labels | {f"{_FACT}{key}": value for key, value in service.facts.items()},
            healthcheck=None if service.watched else {"test": ["NONE"]},
            stop_signal="SIGRTMIN+3" if service.systemd else None,
            host_config=self._client.create_host_config(
                network_mode=first, port_bindings=ports, mounts=self._mounts(service), **self._rights(service)
            ),
            networking_config=attached and self._client.create_networking_config(attached),
            use_config_proxy=False,  # else the proxies of this user's Docker configuration are in the environment
        )
        if ports:
            self._client.connect_container_to_network(made["Id"], self.network, aliases=list(service.aliases))
        return str(made["Id"])

    def execute(self, found: Found, *argv: str, user: str = "", environment: Mapping[str, str] | None = None) -> Said:
        """Run a program in a container to its end."""
        import docker

        try:
            ended = execution.execute(self._client, found.id, argv, user=user, environment=environment)
        except docker.errors.APIError as error:  # it has just ended
            return Said(code=execution.NOT_RUN, output=str(error))
        return Said(code=ended.code, output=ended.output)

    def put(self, found: Found, folder: str, texts: Mapping[str, bytes], *, mode: int = 0o644, owner: int = 0) -> None:
        """Write files into *folder*, which is there."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name, data in texts.items():
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), mode
                info.uid = info.gid = owner
                archive.addfile(info, io.BytesIO(data))
        self._client.put_archive(found.id, folder, stream.getvalue())

    def told(self, found: Found, *, lines: int = 25) -> str:
        """The end of what its process printed."""
        return str(self._client.logs(found.id, tail=lines).decode(errors="replace"))

    def fill(self, role: str, image: str, texts: Mapping[str, bytes], *, owner: int) -> None:
        """Write files that *owner* alone may read into a volume, through a container of *image* that never runs."""
        place = "/release"
        made = self.start(
            Service(role=f"{role}-carrier", image=image, volumes=(Volume(role=role, place=place),)), run=False
        )
        try:
            self.put(made, place, texts, mode=0o400, owner=owner)
        finally:
            self.remove(made)

    def wait(self, found: Found) -> int:
        """Wait for the process to end; answers its exit code."""
        return int(self._client.wait(found.id)["StatusCode"])

    def state(self, container: str) -> Found | None:
        """The container of that id as it is now; None when it is gone."""
        import docker

        try:
            return self._there(container)
        except docker.errors.NotFound:
            return None

    def stop(self, found: Found, *, role: str = "") -> Found:
        """Stop a container, and give it another *role* when one is named."""
        self._client.stop(found.id, timeout=30)
        return self._renamed(found, role)

    def resume(self, found: Found, *, role: str = "") -> Found:
        """Start a stopped container again, as it was, in *role* when one is named."""
        self._renamed(found, role)
        self._client.start(found.id)
        return self._there(found.id)

    def remove(self, found: Found) -> None:
        """Remove a container, running or not."""
        import docker

        with contextlib.suppress(docker.errors.NotFound):
            self._client.remove_container(found.id, force=True, v=True)

    def remove_all(self, *, run: str = "") -> int:
        """Remove the containers, volumes and the network; with *run* only what that one made. Answers how many."""
        label = f"{_RUN}={run}" if run else f"{LABEL}={self.name}"
        removed = 0
        while True:  # an engine may still be making what it was told to when the one who told it was interrupted
            there = list(self._all(label))
            for kind, one in there:
                self._remove_one(kind, one)
            if not there:
                return removed
            removed += len(there)
            time.sleep(0.1)

    def _all(self, label: str) -> Iterator[tuple[str, str]]:
        wanted = {"label": label}
        yield from (("container", one["Id"]) for one in self._client.containers(all=True, filters=wanted))
        yield from (("volume", one["Name"]) for one in self._client.volumes(filters=wanted)["Volumes"] or ())
        yield from (("network", one["Id"]) for one in self._client.networks(filters=wanted))

    def _remove_one(self, kind: str, name: str) -> None:
        import docker

        with contextlib.suppress(docker.errors.NotFound):
            if kind == "container":
                self._client.remove_container(name, force=True, v=True)
            elif kind == "volume":
                self._client.remove_volume(name, force=True)
            else:
                self._client.remove_network(name)

    def _name(self, role: str) -> str:
        return f"{self.network}-{role}"

    def _renamed(self, found: Found, role: str) -> Found:
        if role:
            self._client.rename(found.id, self._name(role))
        return self._there(found.id)

    def _there(self, container: str) -> Found:
        facts = self._client.inspect_container(container)
        bound = facts["NetworkSettings"]["Ports"] or {}
        return Found(
            id=facts["Id"],
            role=facts["Name"].removeprefix(f"/{self.network}-"),
            name=facts["Name"].removeprefix("/"),
            image=facts["Image"],
            running=facts["State"]["Running"],
            ports={int(inside.partition("/")[0]): int(at[0]["HostPort"]) for inside, at in bound.items() if at},
            facts=_facts(facts["Config"]["Labels"]),
        )

    def _mounts(self, service: Service) -> list[Any]:
        from docker.types import Mount

        found = [Mount(volume.place, self._name(volume.role)) for volume in service.volumes]
        found += [Mount(place, self._name(role), read_only=True) for place, role in service.secrets.items()]
        if service.systemd:
            found.append(Mount(_CGROUPS, _CGROUPS, type="bind", read_only=not self._unified()))
        return found

    def _rights(self, service: Service) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if service.systemd:
            found |= {"cap_add": ["SYS_ADMIN", "SYS_PTRACE"]}
            found |= {"tmpfs": {"/run": "exec", "/run/lock": "", "/tmp": "exec"}}  # noqa: S108 - inside
            return found | ({"cgroupns": "host"} if self._unified() else {})
        if service.strict:
            found |= {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}
            found |= {"tmpfs": {"/tmp": ""}}  # noqa: S108 - inside
        return found | {
            "init": service.init or None,
            "pids_limit": service.tasks,
            "mem_limit": service.memory or None,
            "nano_cpus": int(service.cpus * 1e9) or None,
        }

    def _unified(self) -> bool:
        return str(self._client.info().get("CgroupVersion", "1")) == "2"


@contextlib.contextmanager
def _explained(service: Service) -> Iterator[None]:
    import docker

    try:
        yield
    except docker.errors.APIError as error:
        if not any(words in str(error) for words in ("port is already allocated", "address already in use")):
            raise
        taken = ", ".join(str(port) for port in service.ports.values())
        raise BuildError(f"the port {taken} of this machine is taken", hint="choose another one with --port") from error


def _facts(labels: Mapping[str, str] | None) -> dict[str, str]:
    return {key.removeprefix(_FACT): value for key, value in (labels or {}).items() if key.startswith(_FACT)}
