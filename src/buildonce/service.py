"""What ``[tool.release.service]`` may say: how the application runs as a service, the same in every format.

Every value may stand in a unit file, a container's configuration or a command line: it is checked here, once.
"""

from __future__ import annotations

from typing import Annotated, Final

from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator, Field, StrictBool, StrictInt, ValidationInfo, field_validator

from buildonce.tables import AbsolutePath, Credential, Matching, Table, User, Value, Variable

__all__ = ["CommandLine", "Resources", "Service"]

# Words that mean the same to systemd, an image and a shell: no quotes, expansions or control characters.
_WORD: Final = r"[^\s\x00-\x1f\x7f\"'\\`$;&|<>%]+"


def _version(value: str) -> str:
    try:
        return value and str(Version(value))
    except InvalidVersion as error:
        msg = "is not a version, such as 1.4.0 (PEP 440)"
        raise ValueError(msg) from error


CommandLine = Annotated[
    str,
    Matching(
        rf"[A-Za-z0-9_][A-Za-z0-9._-]*(?: +{_WORD})*",
        "a console script of the project and plain arguments: no folder, quotes, $, % or shell operators",
    ),
]
_UrlPath = Annotated[
    str, Matching(r"/[A-Za-z0-9._~!&()*+,;=:@/?-]*", "a path on the service's port that starts with /")
]
_Memory = Annotated[str, Matching(r"|[1-9][0-9]*[KMGT]", "an amount of memory, such as 512M")]
_Share = Annotated[str, Matching(r"|[1-9][0-9]*%", "a share of a CPU, such as 50% or 200%")]
_Version = Annotated[str, AfterValidator(_version)]


class Resources(Table):
    """What the service may use at most; no limit where nothing is said."""

    memory: _Memory = ""
    """Memory, such as `512M` or `2G` (1G is 1024M); a service that needs more is killed and started again."""
    tasks: Annotated[StrictInt, Field(ge=1)] | None = None
    """Processes and threads."""
    cpu: _Share = ""
    """The share of one CPU, such as `50%`; `200%` is two of them."""


class Service(Table):
    """The application runs as a service."""

    command: CommandLine
    """A console script of the project and its arguments, such as `orders serve`."""
    port: Annotated[StrictInt, Field(ge=1, le=65535)] | None = None
    """The TCP port that it listens on."""
    health: _UrlPath = "/health"
    """The path on that port which answers 200 when the service is well."""
    user: User = ""
    """The system user it runs as; the name of the release when not given."""
    environment: dict[Variable, Value] = Field(default={})
    """Settings from the environment; never secrets: they would be in the artifact."""
    migrate: CommandLine = ""
    """A command that is run before the service starts, such as a database migration."""
    writable: tuple[AbsolutePath, ...] = ()
    """Folders, beside its own below /var/lib, that the service may write to."""
    notify: StrictBool = False
    """The service says when it is ready: `READY=1` to the socket that `NOTIFY_SOCKET` names (sd_notify)."""
    socket: StrictBool = False
    """systemd listens on the port and the service gets the socket as file descriptor 3 (sd_listen_fds): it can be
    restarted without refusing a connection."""
    credentials: tuple[Credential, ...] = ()
    """Secrets that the service reads from files of these names in the folder `CREDENTIALS_DIRECTORY`; on the host they
    are root's files in /etc/<name>/credentials."""
    resources: Resources = Resources()
    """What the service may use at most."""
    rollback_floor: _Version = ""
    """The oldest version that can run with the database as this one migrates it."""

    @field_validator("socket")
    @classmethod
    def _on_a_port(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("port") is None:
            msg = "`socket` needs `port`: what systemd listens on"
            raise ValueError(msg)
        return value
