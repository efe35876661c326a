"""Which of the locked OS packages go into an image: the target's runtime, and what owns the libraries that
the wheels need.

Which package owns a library is what the packages say themselves, in the ``shlibs`` control file (Debian
Policy 8.6.4): what dpkg-shlibdeps reads to make the ``Depends`` of the deb.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildonce import debs
from buildonce.debs import deb
from buildonce.errors import BuildError
from buildonce.oci import needs, rules
from buildonce.system import canonical, files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from buildonce.model import DebPin, Target, Tree
    from buildonce.system.store import Store

__all__ = ["Package", "choose", "sonames_of"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """A locked OS package: its pin, its verified file, its control fields and the sonames it owns."""

    pin: DebPin
    path: Path
    fields: Mapping[str, str]
    sonames: frozenset[str]


def runtime(
    target: Target, pins: Sequence[DebPin], paths: Sequence[Path], *, tree: Tree, root: Path, store: Store
) -> tuple[Package, ...]:
    """Those of the locked packages *pins* that *target*'s interpreter and the libraries of *tree*, laid below
    *root*, come to.
    """
    known = rules.read()
    return choose(
        pins,
        paths,
        roots=(*target.runtime, *known.packages),
        sonames=needs.sonames(tree.entries, root, store),
        without=known.without,
        store=store,
    )


def choose(
    pins: Sequence[DebPin],
    paths: Sequence[Path],
    *,
    roots: Iterable[str],
    sonames: Iterable[str],
    without: Iterable[str],
    store: Store,
) -> tuple[Package, ...]:
    """The packages that an image holds, sorted by name: *roots*, the owners of *sonames* and what they all
    depend on.

    Raises :class:`BuildError` for a soname that no locked package owns, and for a package in *without* that
    has libraries.
    """
    packages = _read(pins, paths, store)
    left_out = frozenset(without)
    for name in sorted(left_out & packages.keys()):
        if packages[name].sonames:
            raise BuildError(
                f"{name} has shared libraries and cannot be left out of an image",
                where="builders/oci/base.toml",
            )
    owners = {soname: name for name in sorted(packages) for soname in packages[name].sonames}
    needed = set(roots)
    for soname in sorted(sonames):
        if soname not in owners:
            raise BuildError(
                f"no locked OS package owns the library {soname}, which a wheel needs",
                where="debs.lock.toml",
                hint="name the package in `apt` under [tool.release.build.<dist>], then run `release lock`",
            )
        needed.add(owners[soname])
    names = debs.closure([package.fields for package in packages.values()], sorted(needed), left_out)
    return tuple(packages[name] for name in names)


def sonames_of(shlibs: str) -> frozenset[str]:
    """The sonames in a ``shlibs`` control file: ``libpq 5 libpq5 (>= 15)`` owns ``libpq.so.5`` and
    ``libpq-5.so``.

    One line stands for both spellings of a soname (deb-shlibs(5)). Lines for another package type (``udeb:``)
    are left out.
    """
    found: set[str] = set()
    for line in shlibs.splitlines():
        library, version, *_ = (*line.split(), "", "")
        if version and not library.startswith("#") and not library.endswith(":"):
            found |= {f"{library}.so.{version}", f"{library}-{version}.so"}
    return frozenset(found)


def _read(pins: Sequence[DebPin], paths: Sequence[Path], store: Store) -> dict[str, Package]:
    """Every locked package by name. Reading hundreds of control files takes a second, so the facts are kept
    in the store.
    """

    def make(folder: Path) -> None:
        facts = []
        for path in paths:
            package = deb.read(path)
            shlibs = package.controls.get("shlibs", b"").decode(errors="replace")
            facts.append({"fields": _depending(package.fields), "sonames": sorted(sonames_of(shlibs))})
        (folder / "facts.json").write_bytes(canonical.dump(facts))

    key = files.sha256_bytes(canonical.dump(["facts 1", *(pin.file.sha256 for pin in pins)]))
    facts = json.loads((store.folder("oci-packages", key, make) / "facts.json").read_bytes())
    return {
        fact["fields"]["Package"]: Package(
            pin=pin, path=path, fields=fact["fields"], sonames=frozenset(fact["sonames"])
        )
        for pin, path, fact in zip(pins, paths, facts, strict=True)
    }


def _depending(fields: Mapping[str, str]) -> dict[str, str]:
    return {
        name: fields[name] for name in ("Package", "Version", "Pre-Depends", "Depends", "Provides") if name in fields
    }
