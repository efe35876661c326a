"""Renders the source package for dpkg-buildpackage: ``debian/``, and all that the deb holds beside the Tree.

The templates are the real files of ``builders/deb``. What they become is known here, before anything is
packed: it is what the builder *means* to put into the deb.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import deflate

from buildonce import units
from buildonce.builders import _deb_texts as texts
from buildonce.errors import ConfigurationError
from buildonce.model import Entry
from buildonce.system import files, share, template

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from buildonce.config import Service
    from buildonce.stage import Stage

__all__ = ["ENV_MODE", "Carried", "carried", "check", "entries", "write"]

# Levels are part of the bytes. 12 is libdeflate's highest, which Policy 12.7 asks of a changelog.
_CHANGELOG_LEVEL: Final = 12
# A tree of 112 MB: 1 0.4 s 35.9 MB, 3 0.7 s 30.8 MB, 6 2.0 s 28.2 MB, 9 3.2 s 27.2 MB, 19 59 s 24.1 MB.
_ZSTD_LEVEL: Final = 3
ENV_MODE: Final = 0o640  # read by systemd as root; may hold secrets
_LOWEST_PORT: Final = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Carried:
    """A file or link of the deb that is not the Tree's. ``path`` is relative to ``/``."""

    path: str
    data: bytes = b""
    mode: int = 0o644
    link: str = ""


def check(stage: Stage) -> None:
    """Raise :class:`ConfigurationError` for what cannot become a package."""
    name, service = stage.project.name, stage.project.settings.service
    if name.startswith("python3"):
        raise ConfigurationError(
            f"a deb cannot be named {name!r}: dh-virtualenv leaves out names that begin with python3",
            where="pyproject.toml: tool.release.name",
            hint=f'such as name = "{name.removeprefix("python3").strip("-") or "my"}-app"',
        )
    if service and service.port is not None and service.port < _LOWEST_PORT:
        raise ConfigurationError(
            f"the service cannot listen on port {service.port}: it runs without privileges",
            where="pyproject.toml: tool.release.service.port",
            hint=f"choose a port from {_LOWEST_PORT} up, behind a proxy or a redirect",
        )


def carried(stage: Stage) -> tuple[Carried, ...]:
    """Every file and link that the deb holds beside the Tree, sorted by path."""
    name, values = stage.project.name, _values(stage)
    found = [
        Carried(path=f"usr/share/doc/{name}/copyright", data=texts.copyright_file(stage).encode()),
        Carried(path=f"usr/share/doc/{name}/changelog.Debian.gz", data=_changelog(stage)),
        Carried(path=f"usr/share/lintian/overrides/{name}", data=_render("files/lintian-overrides", values)),
        *(Carried(path=f"usr/bin/{script}", link=f"{stage.prefix}/bin/{script}") for script in stage.scripts),
    ]
    service = stage.project.settings.service
    if service:
        facts = _facts_of_unit(stage)
        folder = stage.target.units.relative_to("/")
        found += [
            Carried(path=f"{folder}/{name}.service", data=units.service(service, facts, "deb").encode()),
            Carried(path=f"usr/lib/sysusers.d/{name}.conf", data=units.sysusers(service, facts).encode()),
            Carried(path=f"etc/{name}/env", data=units.defaults(service, facts).encode(), mode=ENV_MODE),
        ]
        if service.socket:
            found.append(Carried(path=f"{folder}/{name}.socket", data=units.socket(service, facts).encode()))
    return tuple(sorted(found, key=lambda one: one.path))


def entries(found: tuple[Carried, ...]) -> tuple[Entry, ...]:
    """The same as the proof's entries."""
    return tuple(
        Entry(path=one.path, kind="link", mode=0o777, link=one.link)
        if one.link
        else Entry(path=one.path, mode=one.mode, size=len(one.data), sha256=files.sha256_bytes(one.data))
        for one in found
    )


def write(stage: Stage, found: tuple[Carried, ...], into: Path) -> None:
    """Write the source package into the new folder *into*; *found* goes to ``debian/carried``."""
    debian, values = into / "debian", _values(stage)
    for name, mode in (("control", 0o644), ("rules", 0o755), ("postrm", 0o644)):
        files.write_atomically(debian / name, _render(f"debian/{name}", values), mode=mode)
    files.write_atomically(debian / "changelog", texts.changelog(stage).encode())
    files.write_atomically(debian / "facts.mk", _facts(stage).encode())
    files.copy_file(share.path("builders", "deb", "lay.py"), debian / "lay.py", mode=0o755)
    locked = (f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in stage.wheelhouse.wheels)
    files.write_atomically(into / "requirements.txt", "".join(locked).encode())
    for one in found:
        place = debian / "carried" / one.path
        if one.link:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(one.link)
        else:
            files.write_atomically(place, one.data, mode=one.mode)
    for folder in [into, *(path for path in into.rglob("*") if path.is_dir() and not path.is_symlink())]:
        folder.chmod(0o755)


def _values(stage: Stage) -> dict[str, str]:
    page = texts.homepage(stage)
    return {
        "name": stage.project.name,
        "architecture": stage.target.architecture,
        "python": stage.target.interpreter.name,
        "venv": str(stage.prefix.relative_to("/")),
        "maintainer": texts.maintainer(stage),
        "synopsis": texts.synopsis(stage),
        "description": texts.description(stage),
        "homepage": f"Homepage: {page}" if page else "",
        "purged": _purged(stage, stage.project.settings.service),
    }


def _facts_of_unit(stage: Stage) -> units.Facts:
    facts = units.Facts.of(stage.project)
    page = facts.documentation or f"file:///usr/share/doc/{stage.project.name}/copyright"
    return replace(facts, documentation=page)


def _purged(stage: Stage, service: Service | None) -> str:
    """Folders that systemd made for the service, for the removal of all traces."""
    if not service:
        return ""
    made = [folder for folder in service.writable if folder.startswith(tuple(units.MADE_BY_SYSTEMD))]
    return " ".join(dict.fromkeys((f"/var/lib/{stage.project.name}", *made)))


def _changelog(stage: Stage) -> bytes:
    return bytes(deflate.gzip_compress(texts.changelog(stage).encode(), _CHANGELOG_LEVEL))


def _facts(stage: Stage) -> str:
    """Makefile variables for ``debian/rules``."""
    libraries = {
        str(PurePosixPath(e.path).parent) for e in stage.tree.entries if re.search(r"/lib[^/]*\.so[.0-9]*$", e.path)
    }
    facts = {
        "NAME": stage.project.name,
        "PYTHON": str(stage.target.interpreter),
        "VENV": str(stage.prefix),
        "BUNDLED": " ".join(sorted(folder for folder in libraries if re.fullmatch(r"[\w./+-]+", folder))),
        "LEVEL": str(_ZSTD_LEVEL),
    }
    return "".join(f"{key} := {value}\n" for key, value in facts.items())


def _render(text: str, values: Mapping[str, str]) -> bytes:
    """A template of ``builders/deb``."""
    return template.read("builders", "deb", *text.split("/"), values=values).encode()
