"""Which registry, and which repository in it: ``oci://host[:port]/name``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from buildonce.errors import ConfigurationError

__all__ = ["Repository"]

# Distribution specification 1.1, "Pulling manifests": <name>.
_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY: Final = re.compile(
    rf"oci(?P<plain>\+http)?://(?P<host>[A-Za-z0-9.-]+(?::\d+)?|\[[0-9A-Fa-f:]+\](?::\d+)?)/(?P<name>{_PART}(?:/{_PART})*)"
)
_HERE: Final = re.compile(r"(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """A repository of a registry."""

    host: str  # with the port, as in an image's name
    name: str  # "team/vault"
    plain: bool = False  # HTTP without TLS

    @classmethod
    def parse(cls, text: str) -> Repository:
        """The repository that ``oci://host/name`` names.

        As with Docker, a registry on this machine may speak HTTP without TLS; any other one has to be asked for that
        with ``oci+http://``. Raises :class:`ConfigurationError`.
        """
        found = _REPOSITORY.fullmatch(text)
        if found is None:
            raise ConfigurationError(
                f"{text!r} does not name a repository of a registry",
                hint="written as oci://registry.example.org/team/name, in lower case, without a tag",
            )
        host = found["host"]
        return cls(host=host, name=found["name"], plain=bool(found["plain"] or _HERE.fullmatch(host)))

    def url(self, path: str) -> str:
        """The address of *path* below the repository, such as ``blobs/sha256:…``."""
        return f"{'http' if self.plain else 'https'}://{self.host}/v2/{self.name}/{path}"

    def __str__(self) -> str:
        return f"oci{'+http' if self.plain and not _HERE.fullmatch(self.host) else ''}://{self.host}/{self.name}"
