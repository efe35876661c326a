"""How results look: tables for people, plain values for ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from buildonce import target as targets

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from buildonce.bundling import Bundled
    from buildonce.doctoring import Finding
    from buildonce.locking import Locked
    from buildonce.model import Artifact, Release
    from buildonce.planning import Plan
    from buildonce.signing.release import Verified

__all__ = [
    "bundled",
    "bundled_json",
    "findings",
    "locked",
    "locked_json",
    "plan",
    "release",
    "release_json",
    "size",
    "table",
    "verified",
    "verified_json",
]

_KIB = 1024


def size(count: int) -> str:
    """A number of bytes for a person: ``12.3 MiB``."""
    value, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):  # noqa: B007 - the last unit is used below
        if value < _KIB:
            break
        value /= _KIB
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their content, two spaces apart."""
    lines = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def release(made: Release) -> None:
    """What was built, where, and how the next person checks it."""
    rows = [(artifact.kind, artifact.file, size(artifact.size), artifact.sha256) for artifact in made.artifacts]
    click.echo(table(("format", "file", "size", "sha256"), rows))
    click.echo(f"\n{made.name} {made.version}: {len(rows)} artifacts, equal to one Tree, signed", err=True)
    click.echo(f"in {made.folder}", err=True)


def release_json(made: Release) -> dict[str, Any]:
    """The result of ``release build --json``, as the contract says."""
    return {
        "name": made.name,
        "version": made.version,
        "commit": made.commit,
        "dir": str(made.folder),
        "artifacts": [_artifact_json(artifact) for artifact in made.artifacts],
    }


def _artifact_json(artifact: Artifact) -> dict[str, Any]:
    return {
        "format": artifact.kind,
        "file": artifact.file,
        "sha256": artifact.sha256,
        "size": artifact.size,
        "target": artifact.target or None,
    }


def plan(found: Plan) -> None:
    """What a build would do."""
    click.echo(
        f"{found.name} at {found.commit[:12]}{f' ({found.tag})' if found.tag else ''}: {', '.join(found.formats)}"
    )
    for target in found.targets:
        fetch = f"{target.missing} to fetch ({size(target.missing_bytes)})" if target.missing else "all stored"
        root = "made" if target.build_root else "to be made"
        click.echo(
            f"{target.target}: {target.packages} packages, {target.debs} OS packages, {fetch}; build root {root}"
        )
        for package in target.compiles:
            click.echo(f"  {package} is compiled in the build root")


def locked(made: Locked) -> None:
    """What was locked, and what will be compiled."""
    for target in made.lock.targets:
        found = targets.load(target)
        click.echo(f"{target}: {len(made.lock.select(found))} packages, {len(made.lock.debs(found))} OS packages")
    for package in made.compiles:
        click.echo(package.line)
    click.echo(f"wrote {', '.join(made.lock.files)}: commit them", err=True)


def locked_json(made: Locked) -> dict[str, Any]:
    """The result of ``release lock --json``."""
    return {
        "name": made.project.name,
        "targets": list(made.lock.targets),
        "files": dict(made.lock.files),
        "compiles": [
            {"name": c.name, "version": c.version, "target": c.target, "apt": list(c.apt)} for c in made.compiles
        ],
    }


def findings(found: Sequence[Finding]) -> None:
    """What was looked at on this machine, and the lines that mend what is missing."""
    rows = [(one.state, one.name, one.needed_for, one.detail) for one in found]
    click.echo(table(("", "what", "needed for", ""), rows))
    for one in found:
        if one.remedy:
            click.echo(f"{one.name}: {one.remedy}")


def verified(found: Verified) -> None:
    """Who signed, and that everything is as it was signed and built."""
    manifest = found.manifest
    click.echo(table(("", "file", "size"), [("ok", a.file, size(a.size)) for a in manifest.artifacts]))
    click.echo(f"{manifest.name} {manifest.version.pep440} of commit {manifest.source.commit[:12]}", err=True)
    for signer in found.signers:
        click.echo(f"signed by {signer.name} {signer.keyid}", err=True)


def verified_json(found: Verified) -> dict[str, Any]:
    """The result of ``release verify --json``."""
    manifest = found.manifest
    return {
        "name": manifest.name,
        "version": manifest.version.pep440,
        "commit": manifest.source.commit,
        "signers": [{"name": signer.name, "keyid": signer.keyid} for signer in found.signers],
        "artifacts": [_artifact_json(artifact) for artifact in manifest.artifacts],
    }


def bundled(made: Bundled) -> None:
    """Where the inputs are kept now."""
    if made.bundle:
        click.echo(f"{made.bundle}: {made.files} inputs, {size(made.size)}")
    for kept in made.kept:
        new = f"{kept.added} new ({size(kept.added_bytes)})" if kept.added else "all of them were there"
        click.echo(f"{kept.vault}: {kept.files} inputs, {new}")


def bundled_json(made: Bundled) -> dict[str, Any]:
    """The result of ``release bundle --json``."""
    return {
        "name": made.name,
        "lock": made.lock,
        "files": made.files,
        "size": made.size,
        "bundle": str(made.bundle) if made.bundle else None,
        "vaults": [
            {"vault": kept.vault, "files": kept.files, "added": kept.added, "added_bytes": kept.added_bytes}
            for kept in made.kept
        ],
    }
