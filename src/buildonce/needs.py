"""What ``[tool.release.up]`` may say: what a release needs beside itself to run on the machine of who develops it."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field, StrictInt, model_validator

from buildonce.tables import AbsolutePath, Credential, Matching, Package, Program, Table, User, Value, Variable

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["APPLICATION", "Need", "UpSettings", "filled"]

APPLICATION: Final = "app"  # the application's own name in its network

_POSTGRESQL: Final = ("host", "port", "user", "password", "database", "url")
_COMMAND: Final = ("host", "port")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")

_NeedName = Annotated[
    str,
    Matching(rf"(?!{APPLICATION}$)[a-z][a-z0-9-]{{0,30}}", "a host name: small letters, digits and -; not `app`"),
]


class Need(Table):
    """Something that runs beside the application, in a container of Debian packages."""

    type: Literal["postgresql", "command"]
    """`postgresql`, with a database and a user that are made; or `command`, anything else."""
    packages: tuple[Package, ...] = ()
    """The Debian packages that it is in; `postgresql` when that is the type and nothing is given."""
    command: Program = ""
    """For `command`: the program that runs, in the foreground."""
    user: User = "root"
    """For `command`: as whom."""
    port: Annotated[StrictInt, Field(ge=1, le=65535)] | None = None
    """For `command`: the TCP port that it listens on; it is ready when somebody answers there."""
    data: tuple[AbsolutePath, ...] = ()
    """For `command`: folders that are kept until `release down`."""

    @model_validator(mode="after")
    def _fits_together(self) -> Need:
        said = self.model_fields_set & {"command", "user", "port", "data"}
        if self.type == "postgresql" and said:
            msg = f'type = "postgresql" knows {", ".join(sorted(said))} itself'
            raise ValueError(msg)
        if self.type == "command" and not (self.packages and self.command and self.port):
            msg = 'type = "command" needs `packages`, `command` and `port`'
            raise ValueError(msg)
        try:
            shlex.split(self.command)
        except ValueError as error:
            msg = f"{self.command!r} is no command line: {error}"
            raise ValueError(msg) from error
        return self

    @property
    def facts(self) -> tuple[str, ...]:
        """What `{name.…}` in the environment may ask of it."""
        return _POSTGRESQL if self.type == "postgresql" else _COMMAND


class UpSettings(Table):
    """What `release up` starts, and tells the application of it."""

    needs: dict[_NeedName, Need] = Field(default={})
    """What runs beside the application, by the host name that it has in the network of both."""
    environment: dict[Variable, Value] = Field(default={})
    """Settings from the environment, in which `{need.host}`, `{need.port}` and, of a PostgreSQL, `{need.user}`,
    `{need.password}`, `{need.database}` and `{need.url}` stand for what is there."""
    credentials: dict[Credential, Value] = Field(default={})
    """What the service reads as its credentials here, by file name; placeholders as in `environment`."""
    packages: tuple[Package, ...] = ()
    """More Debian packages of the host that `--format deb` and `--format pex` install on."""
    timeout: Annotated[float, Field(gt=0, le=3_600)] = 60
    """Seconds in which what was started has to be healthy."""

    @model_validator(mode="after")
    def _known_placeholders(self) -> UpSettings:
        for variable, value in (*self.environment.items(), *self.credentials.items()):
            for wanted in _PLACEHOLDER.findall(value):
                if wanted not in self._known():
                    msg = f"{{{wanted}}} in {variable} is nothing that is there; known: {', '.join(self._known())}"
                    raise ValueError(msg)
        return self

    def _known(self) -> list[str]:
        return [f"{name}.{fact}" for name, need in self.needs.items() for fact in need.facts] or ["none"]


def filled(texts: Mapping[str, str], facts: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """*texts* with the facts of each need, by its name, in the place of `{name.fact}`."""

    def fact(found: re.Match[str]) -> str:
        name, _, wanted = found[1].partition(".")
        return facts[name][wanted]

    return {key: _PLACEHOLDER.sub(fact, text) for key, text in texts.items()}
