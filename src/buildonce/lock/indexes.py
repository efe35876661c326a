"""Where packages come from: uv's own configuration, or pip's told to uv. This program names no registry.

Places on this machine (``file:`` indexes, find-links) are left out: a lock must mean the same everywhere.
"""

from __future__ import annotations

import configparser
import os
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["environment", "portable"]

_UV_VARIABLES: Final = (
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_NO_INDEX",
)
_UV_KEYS: Final = ("extra-index-url", "index", "index-url", "no-index")


def environment(project_settings: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The variables that tell uv the indexes of the user's pip; none when uv has indexes of its own.

    *project_settings* is ``[tool.uv]`` of the project. pip's extra indexes come before the default one in
    uv's order, and the first index that has a name is the only one asked for it: a private name is never
    taken from elsewhere.
    """
    found: list[tuple[str, str]] = []
    certificates = _option("cert")
    if certificates and "SSL_CERT_FILE" not in os.environ:
        found.append(("SSL_CERT_FILE", certificates))
    if _uv_knows(project_settings):
        return tuple(found)
    default = [url for url in _option("index-url").split() if portable(url)]
    extra = [url for url in _option("extra-index-url").split() if portable(url)]
    if default:
        found.append(("UV_DEFAULT_INDEX", default[0]))
    if extra:
        found.append(("UV_INDEX", " ".join(extra)))
    return tuple(found)


def portable(url: str) -> bool:
    """Whether *url* means the same on every machine."""
    return url.startswith(("http://", "https://"))


def _uv_knows(project_settings: Mapping[str, Any]) -> bool:
    if any(os.environ.get(name) for name in _UV_VARIABLES):
        return True
    return any(_names_one(settings) for settings in (project_settings, *_uv_user_settings()))


def _names_one(settings: Mapping[str, Any]) -> bool:
    """An explicit index serves only the packages that name it, so it takes nobody's place."""
    found = {key: settings[key] for key in _UV_KEYS if key in settings}
    if "index" in found:
        found["index"] = [index for index in found["index"] if not index.get("explicit")]
    return any(found.values())


def _uv_user_settings() -> Iterator[Mapping[str, Any]]:
    """The files of user and system that uv reads by itself (uv documentation, "Configuration files")."""
    if os.environ.get("UV_NO_CONFIG"):
        return
    named = os.environ.get("UV_CONFIG_FILE")
    usual = (_user_folder() / "uv" / "uv.toml", Path("/etc/xdg/uv/uv.toml"), Path("/etc/uv/uv.toml"))
    for path in (Path(named),) if named else usual:
        if path.is_file():
            yield tomllib.loads(path.read_text("utf-8"))


def _user_folder() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _option(name: str) -> str:
    """pip's option *name* in pip's order: variable, site, user, system; ``""`` when unset."""
    variable = os.environ.get("PIP_" + name.upper().replace("-", "_"))
    if variable is not None:
        return variable
    value = ""
    for path in _pip_files():
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except configparser.Error:
            continue  # pip itself tells the user what is wrong with it
        for section in ("global", "install"):
            value = parser.get(section, name, fallback=value)
    return value


def _pip_files() -> tuple[Path, ...]:
    """Later files win (pip documentation, "Configuration")."""
    named = os.environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return ()
    return (
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        Path.home() / ".pip" / "pip.conf",
        _user_folder() / "pip" / "pip.conf",
        Path(os.environ.get("VIRTUAL_ENV") or sys.prefix) / "pip.conf",
        *((Path(named),) if named else ()),
    )
