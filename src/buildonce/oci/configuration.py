"""What a container of an image runs, as whom and with which environment: the ``config`` part of the image
configuration.

Format: OCI image specification 1.1, *Image Configuration*; ``Healthcheck`` is Docker's, which other runtimes
ignore.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buildonce.oci.layers import Layer

__all__ = ["CONFIG_ENTRY", "OURS", "USER", "Process", "architecture", "container", "document", "timestamp"]

USER: Final = 65532  # by number: Kubernetes cannot tell whether a name is root
_SECOND: Final = 1_000_000_000  # Docker counts health check times in nanoseconds

# The path under which the container's configuration is listed among the files of an image, so that it is
# compared like one.
CONFIG_ENTRY: Final = "image:config"

# How the history of an image begins for a layer that this program made.
OURS: Final = "buildonce: "

# GOARCH names, where Debian's differ.
_ARCHITECTURES: Final = {
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v5"),
    "i386": ("386", ""),
    "ppc64el": ("ppc64le", ""),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """What runs in the container."""

    entrypoint: tuple[str, ...]  # exec form, absolute
    environment: Mapping[str, str]
    folder: str = "/"
    port: int | None = None
    health: tuple[str, ...] = ()  # exec form; () for no check
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


def container(process: Process) -> dict[str, Any]:
    """The ``config`` object."""
    config: dict[str, Any] = {
        "User": f"{USER}:{USER}",
        "Entrypoint": list(process.entrypoint),
        "Env": [f"{name}={value}" for name, value in sorted(process.environment.items())],
        "WorkingDir": process.folder,
        "StopSignal": "SIGTERM",
        "Labels": dict(process.labels),
    }
    if process.port is not None:
        config["ExposedPorts"] = {f"{process.port}/tcp": {}}
    if process.volumes:
        config["Volumes"] = {place: {} for place in process.volumes}
    if process.health:
        config["Healthcheck"] = {
            "Test": ["CMD", *process.health],
            "Interval": 10 * _SECOND,
            "Timeout": 5 * _SECOND,
            "StartPeriod": 30 * _SECOND,
            "Retries": 3,
        }
    return config


def document(config: Mapping[str, Any], layers: Sequence[Layer], *, debian: str, epoch: int) -> dict[str, Any]:
    """The whole image configuration: *config*, the digests of the layers and one line of history for each.

    *debian* is Debian's name of the architecture; *epoch* is the commit's time, the only time in an image
    that follows the commit.
    """
    created = timestamp(epoch)
    name, variant = architecture(debian)
    found: dict[str, Any] = {
        "architecture": name,
        "config": dict(config),
        "created": created,
        "history": [{"created": created, "created_by": layer.title} for layer in layers],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.diff_id}" for layer in layers]},
    }
    return found | ({"variant": variant} if variant else {})


def architecture(debian: str) -> tuple[str, str]:
    """The name and variant that images have for Debian's architecture *debian* (GOARCH, GOARM)."""
    return _ARCHITECTURES.get(debian, (debian, ""))


def timestamp(epoch: int) -> str:
    """Seconds since the epoch as RFC 3339, in UTC."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
