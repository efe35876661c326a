"""Package URLs (package-url/purl-spec), and download locations that are fit to be published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from packageurl import PackageURL

if TYPE_CHECKING:
    from buildonce.model import DebPin, Target

__all__ = ["deb", "location", "pypi"]

# Without "file", which would tell where things lie on this machine.
_PUBLISHED: Final = frozenset(("http", "https", "ssh", "git"))


def pypi(name: str, version: str, filename: str = "") -> PackageURL:
    """A Python distribution, or one of its files."""
    return PackageURL("pypi", None, name, version, {"file_name": filename} if filename else None)


def deb(pin: DebPin, target: Target) -> PackageURL:
    """An OS package of *target*."""
    qualifiers = {"arch": pin.architecture, "distro": target.codename}
    return PackageURL("deb", target.distribution, pin.name, pin.version, qualifiers)


def location(url: str) -> str:
    """*url* without what must not be told (credentials, query tokens); "" for a path of this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if parts.scheme not in _PUBLISHED or not parts.hostname:
        return ""
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
