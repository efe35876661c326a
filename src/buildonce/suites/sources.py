"""What a host is configured with: a file that names the repository and its key, and one that bounds what it may bring.

Formats: sources.list(5), apt_preferences(5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from buildonce.signing import openpgp

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from buildonce.signing import Key
    from buildonce.suites.repository import Suite

__all__ = ["files"]

# What apt.conf of a host or of its image may have switched off is said here again, for this repository.
_SOURCES: Final = """\
# {origin}, suite {suite}: for /etc/apt/sources.list.d/. Key {key}.
Types: deb
URIs: {url}
Suites: {suite}
Components: {components}
Architectures: {architectures}
Check-Date: yes
Check-Valid-Until: yes
Valid-Until-Max: {longest}
Allow-Insecure: no
Allow-Weak: no
Allow-Downgrade-To-Insecure: no
By-Hash: force
Signed-By:
{certificate}"""

_PREFERENCES: Final = """\
# {origin}, suite {suite}: for /etc/apt/preferences.d/. Nothing but these packages comes from there, and of this suite.
Package: *
Pin: release o={origin}
Pin-Priority: -1

Package: {names}
Pin: release o={origin}, n={suite}
Pin-Priority: 500
"""


def files(suite: Suite, key: Key, *, root: Path, lists: Iterable[str]) -> dict[Path, bytes]:
    """``<suite>.sources``, ``<suite>.pref`` and the certificate of *key*, binary, by their places below *root*."""
    found = sorted({tuple(path.split("/")[:2]) for path in lists})
    certificate = openpgp.certificate(key)
    armored = openpgp.armor("PUBLIC KEY BLOCK", certificate).decode()
    text = _SOURCES.format(
        origin=suite.origin,
        suite=suite.name,
        key=openpgp.fingerprint(key.public),
        url=suite.url or f"file:{quote(str(root))}",
        components=" ".join(dict.fromkeys(component for component, _ in found)),
        architectures=" ".join(sorted({place.removeprefix("binary-") for _, place in found} - {"all"})),
        longest=suite.days * 86_400,
        certificate="".join(f" {line or '.'}\n" for line in armored.splitlines()),
    )
    names = " ".join(sorted({one.name for one in suite.packages}))
    preferences = _PREFERENCES.format(origin=suite.origin, suite=suite.name, names=names)
    return {
        root / f"{suite.name}.sources": text.encode(),
        root / f"{suite.name}.pref": preferences.encode(),
        root / f"{suite.name}.gpg": certificate,
    }
