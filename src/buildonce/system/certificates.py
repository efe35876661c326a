"""Whose certificates HTTP trusts: those that pip and curl would on this machine."""

from __future__ import annotations

import configparser
import contextlib
import os
import ssl
from pathlib import Path
from typing import Final

from buildonce.errors import ReleaseError

__all__ = ["place", "trusted"]

_BUNDLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")


def trusted() -> ssl.SSLContext:
    """The bundle that the environment or pip's configuration names, else what the system trusts."""
    named = _named()
    if not named:
        context = ssl.create_default_context()
        if not context.cert_store_stats()["x509_ca"] and not os.environ.get("SSL_CERT_DIR"):
            import certifi

            context.load_verify_locations(certifi.where())
        return context
    try:
        folder = Path(named).is_dir()
        return ssl.create_default_context(cafile=None if folder else named, capath=named if folder else None)
    except OSError as error:
        raise ReleaseError(f"the certificates cannot be read: {error}", where=named) from error


def place() -> str:
    """The same as a file, for libraries that take nothing else; "" when there is none."""
    return _named() or ssl.get_default_verify_paths().cafile or ""


def _named() -> str:
    return next((os.environ[name] for name in _BUNDLES if os.environ.get(name)), "") or _pip_certificates()


def _pip_certificates() -> str:
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    named = os.environ.get("PIP_CONFIG_FILE")
    places = [Path(named)] if named else [home / "pip/pip.conf", Path.home() / ".pip/pip.conf", Path("/etc/pip.conf")]
    for place in places:
        parser = configparser.RawConfigParser(strict=False)
        with contextlib.suppress(OSError, UnicodeDecodeError, configparser.Error):
            parser.read(place)
        if cert := parser.get("global", "cert", fallback=""):
            return cert
    return ""
