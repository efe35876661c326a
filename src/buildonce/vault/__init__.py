"""Vaults: where every input of a release is kept by its sha256, for the day on which its upstream is gone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote, urlsplit

from buildonce.errors import ConfigurationError
from buildonce.protocols import Vault
from buildonce.registry import Repository
from buildonce.vault.bundle import BundleVault
from buildonce.vault.contents import Contents, Input, Kept, lock_digest, read_listing
from buildonce.vault.folder import DeniedError, FolderVault
from buildonce.vault.registry import RegistryVault
from buildonce.vault.web import WebVault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buildonce.project import Project
    from buildonce.protocols import Progress
    from buildonce.system.net import Net

__all__ = [
    "VARIABLE",
    "Contents",
    "DeniedError",
    "Input",
    "Keeper",
    "Kept",
    "configured",
    "lock_digest",
    "open_vault",
    "read_listing",
    "writable",
]

VARIABLE: Final = "BUILDONCE_VAULT"


class Keeper(Vault, Protocol):
    """A vault that can be written."""

    def keep(self, contents: Contents, progress: Progress, *, thorough: bool) -> Kept:
        """Put in what is not there; with *thorough*, look at everything that is.

        Raises :class:`DeniedError` when this user may not, :class:`buildonce.errors.ReleaseError` when it fails.
        """
        ...


def configured(project: Project, net: Net) -> tuple[Vault, ...]:
    """The vaults in BUILDONCE_VAULT (apart by spaces), then those that the project names; each once."""
    named = os.environ.get(VARIABLE, "").split()
    places = dict.fromkeys(
        [
            *((one, Path(), VARIABLE) for one in named),
            *((one, project.root, "[tool.release] vault") for one in project.settings.vault),
        ]
    )
    found = [open_vault(place, net, root=root, where=where) for place, root, where in places]
    return tuple({vault.name: vault for vault in reversed(found)}.values())[::-1]


def open_vault(place: str, net: Net, *, root: Path, where: str) -> Vault:
    """The vault that *place* names: a folder or a bundle (a path, relative to *root*, or ``file:``), an address of a
    folder behind a web server, or ``oci://host/name``.

    Nothing is touched yet. Raises :class:`ConfigurationError`; *where* says who named it.
    """
    parts = urlsplit(place)
    if parts.scheme in ("oci", "oci+http"):
        try:
            return RegistryVault(Repository.parse(place), net)
        except ConfigurationError as error:
            problem = error.problems[0]
            raise ConfigurationError(problem.message, where=where, hint=problem.hint) from error
    if parts.scheme in ("https", "http") and parts.netloc:
        return WebVault(place, net)
    if "://" in place and (parts.scheme != "file" or parts.netloc not in ("", "localhost")):
        raise ConfigurationError(
            f"{place!r} is not a vault",
            where=where,
            hint="a folder, a bundle (.tar), https://host/path, or oci://host/name",
        )
    path = (root / (unquote(parts.path) if parts.scheme == "file" else Path(place).expanduser())).resolve()
    return BundleVault(path) if path.suffix == ".tar" else FolderVault(path)


def writable(vaults: Sequence[Vault]) -> tuple[Keeper, ...]:
    """Those of *vaults* that can be written."""
    return tuple(vault for vault in vaults if isinstance(vault, FolderVault | RegistryVault))
