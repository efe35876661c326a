"""Who this user is to a package index: the environment, the netrc file, or the system's keyring, in this order."""

from __future__ import annotations

import base64
import netrc
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from buildonce.errors import ReleaseError

__all__ = ["Login", "find", "variables"]


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Login:
    """A user and a password. Never shown: it has no repr."""

    user: str
    password: str

    @property
    def header(self) -> str:
        """The value of the Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def variables(destination: str) -> tuple[str, str]:
    """The environment variables with user and password for the destination of this name."""
    name = re.sub(r"[^A-Z0-9]", "_", destination.upper())
    return f"BUILDONCE_{name}_USER", f"BUILDONCE_{name}_PASSWORD"


def find(destination: str, url: str) -> Login | None:
    """The login for *destination* at *url*; None when this machine has none.

    Raises :class:`ReleaseError` when the netrc file or the keyring cannot be read.
    """
    user, password = (os.environ.get(name, "") for name in variables(destination))
    if password:
        # Indexes that give tokens take this for the user (docs.pypi.org/api/upload).
        return Login(user=user or "__token__", password=password)
    return _in_netrc(urlsplit(url).hostname or "") or _in_keyring(url, user)


def _in_netrc(host: str) -> Login | None:
    named = os.environ.get("NETRC")
    path = Path(named) if named else Path.home() / ".netrc"
    try:
        found = netrc.netrc(str(path)).authenticators(host) if path.is_file() else None
    except netrc.NetrcParseError as error:
        # Only the message: the parser quotes what it could not read, which may be a password.
        raise ReleaseError(f"the netrc file cannot be read: line {error.lineno}", where=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ReleaseError(f"the netrc file cannot be read: {error}", where=str(path)) from error
    return Login(user=found[0] or "", password=found[2]) if found and found[2] else None


def _in_keyring(url: str, user: str) -> Login | None:
    """From the package ``keyring``, when it is installed: stored for the address, as twine and pip look for it."""
    try:
        import keyring
        from keyring.errors import KeyringError, NoKeyringError
    except ImportError:
        return None
    try:
        found = keyring.get_credential(url, user or None)
    except NoKeyringError:
        return None
    except (KeyringError, RuntimeError) as error:
        raise ReleaseError(
            f"the keyring cannot be read: {error}",
            where=url,
            hint="unlock it, or put the login into ~/.netrc",
        ) from error
    return Login(user=found.username, password=found.password) if found else None
