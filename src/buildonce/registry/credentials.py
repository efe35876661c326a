"""Who this user is to a registry: what ``docker login`` and ``podman login`` left on this machine.

Docker's own package reads the files and asks the credential helpers (containers-auth.json(5) has the order of the
places).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildonce.errors import ReleaseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from buildonce.registry.repository import Repository

__all__ = ["Credentials", "find"]


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Credentials:
    """A user and a password, or a token that is exchanged for others."""

    user: str = ""
    password: str = ""
    identity_token: str = ""


def find(repository: Repository) -> Credentials | None:
    """The credentials for *repository*: of its own path, or of its host; None when nobody has logged in.

    Raises :class:`ReleaseError` when a file or a credential helper cannot be read.
    """
    for path in _files():
        if path.is_file() and (found := _in(path, repository)):
            return found
    return None


def _files() -> Iterator[Path]:
    docker = os.environ.get("DOCKER_CONFIG")
    yield (Path(docker) if docker else Path.home() / ".docker") / "config.json"
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers/auth.json"
    yield Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "containers/auth.json"


def _in(path: Path, repository: Repository) -> Credentials | None:
    from docker.auth import load_config
    from docker.errors import DockerException

    try:
        json.loads(path.read_bytes())  # Docker's package takes a file that it cannot read for an empty one
        config = load_config(str(path))
        # Podman keeps logins for a part of a registry, too: the longest path decides.
        parts = [repository.host, *repository.name.split("/")]
        for length in range(len(parts), 1, -1):
            if entry := config.auths.get("/".join(parts[:length])):
                return _credentials(entry)
        found = config.resolve_authconfig(repository.host)
    except (OSError, ValueError, DockerException) as error:
        raise ReleaseError(
            f"the credentials for {repository.host} cannot be read: {error}",
            where=str(path),
            hint=f"docker login {repository.host}",
        ) from error
    return _credentials(found) if found else None


def _credentials(entry: Mapping[str, Any]) -> Credentials | None:
    """Docker's package spells the keys in one way for helpers and in another for files."""
    lower = {key.lower(): value for key, value in entry.items()}
    user, password, token = (str(lower.get(key) or "") for key in ("username", "password", "identitytoken"))
    return Credentials(user=user, password=password, identity_token=token) if password or token else None
