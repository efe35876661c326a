"""What a lock is made from, written into it so that a stale one is noticed and the change can be named."""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any, Final

from buildonce import target as targets
from buildonce.lock import foreign
from buildonce.lock import settings as uv_settings
from buildonce.system import files, share

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from buildonce.model import Target
    from buildonce.project import Project

__all__ = ["Inputs", "changes", "of", "tools"]

Inputs = dict[str, list[str]]  # input → sorted lines

# Where backends look for dependencies that pyproject.toml calls dynamic: files, and tables of pyproject.toml.
_DYNAMIC_FILES: Final = ("setup.cfg", "setup.py", "requirements*.txt", "requirements*.in")
_DYNAMIC_TABLES: Final = ("flit", "hatch", "pdm", "poetry", "setuptools")


def of(project: Project) -> Inputs:
    """Everything that decides the content of *project*'s lock. Equal inputs never make a lock stale."""
    own = uv_settings.read(project.root)
    existing = foreign.fingerprint(project.root)
    apt = {package for build in project.settings.build.values() for package in build.apt}
    return {
        "requires-python": [project.requires_python] if project.requires_python else [],
        "dependencies": sorted({*map(_public, project.dependencies), *_dynamic(project)}),
        "build-requires": sorted(project.build_requires),
        "targets": sorted(map(_target, targets.of(project.settings))),
        "apt": sorted(apt),
        "tools": list(tools()),
        "uv-settings": [_digest(own)] if own else [],
        "existing-lock": [existing] if existing else [],
    }


def tools() -> tuple[str, ...]:
    """The pinned packers that run in the build root."""
    values = tomllib.loads(share.path("builders", "tools.toml").read_text("utf-8"))
    return tuple(sorted(values["requirements"]))


def changes(before: Mapping[str, list[str]], now: Inputs) -> Iterator[str]:
    """One line for each input that differs, with what came and what went."""
    for key, value in now.items():
        old = list(before.get(key, []))
        if old != value:
            gone = [_readable(line) for line in old if line not in value]
            come = [_readable(line) for line in value if line not in old]
            yield f"{key} changed ({_told(come, gone)})"


def _told(come: list[str], gone: list[str]) -> str:
    return "; ".join(f"{word} {', '.join(lines)}" for word, lines in (("now", come), ("before", gone)) if lines)


def _readable(line: str) -> str:
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", line)


def _target(target: Target) -> str:
    """The target's name, and a digest of what selection and apt are asked with."""
    facts: list[Any] = [target.machine, target.glibc, target.python, target.codename, target.toolchain, target.runtime]
    if target.libraries or target.build_on:
        facts += [target.libraries, _target(target.build_on) if target.build_on else ""]
    return f"{target.name} {_digest(facts)}"


def _dynamic(project: Project) -> Iterator[str]:
    if "dependencies" not in project.dynamic:
        return
    document = tomllib.loads((project.root / "pyproject.toml").read_text("utf-8"))
    tables = {name: table for name, table in document.get("tool", {}).items() if name in _DYNAMIC_TABLES}
    yield f"pyproject.toml {_digest(tables)}"
    for pattern in _DYNAMIC_FILES:
        for path in sorted(project.root.glob(pattern)):
            yield f"{path.name} {files.sha256_file(path)}"


def _public(requirement: str) -> str:
    """A direct reference may hold a password; the lock is committed."""
    return re.sub(r"//[^/@\s]*@", "//", requirement)


def _digest(value: Any) -> str:
    return files.sha256_bytes(json.dumps(value, sort_keys=True, default=str).encode())
