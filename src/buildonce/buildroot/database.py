"""Writes dpkg's database (dpkg(1), deb-symbols(5)) for packages that were unpacked without dpkg.

``dpkg-query``, ``dpkg-shlibdeps``, ``dpkg-checkbuilddeps`` and debhelper read it and take the packages as
installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from buildonce.buildroot import writing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from buildonce.debs.deb import Deb

__all__ = ["write"]

_PLACE: Final = "var/lib/dpkg"
_KEPT: Final = ("conffiles", "md5sums", "shlibs", "symbols", "triggers")


def write(root: Path, packages: Iterable[tuple[Deb, Sequence[str]]], architecture: str) -> None:
    """Write ``/var/lib/dpkg`` below *root* for *packages*, each with its paths as in its ``data.tar``."""
    for folder in ("info", "updates", "triggers", "alternatives", "parts"):
        writing.folder(root, f"{_PLACE}/{folder}")
    listed = sorted(packages, key=lambda package: package[0].name)
    texts: dict[str, str] = {
        "arch": f"{architecture}\n",
        "available": "",
        "diversions": "",
        "statoverride": "",
        "status": "\n".join(_status(deb.controls["control"].decode()) for deb, _ in listed),
        "info/format": "1\n",  # says that Multi-Arch: same packages have their architecture in the file names
    }
    for deb, paths in listed:
        base = _base(deb.fields)
        texts[f"info/{base}.list"] = "".join(f"/{path}\n" for path in (".", *paths))
        texts |= {f"info/{base}.{name}": deb.controls[name].decode() for name in _KEPT if name in deb.controls}
    for name, text in texts.items():
        writing.text(root, f"{_PLACE}/{name}", text)


def _base(fields: Mapping[str, str]) -> str:
    name = fields["Package"]
    return f"{name}:{fields['Architecture']}" if fields.get("Multi-Arch") == "same" else name


def _status(control: str) -> str:
    package, _, rest = control.strip().partition("\n")
    return f"{package}\nStatus: install ok installed\n{rest}\n"
