"""How results look: tables for people, plain values for ``--json``."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from buildonce import target as targets

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from buildonce.airgap import Carried
    from buildonce.bundling import Bundled
    from buildonce.difference import Difference
    from buildonce.doctoring import Finding
    from buildonce.locking import Locked
    from buildonce.model import Artifact, Release
    from buildonce.planning import Plan
    from buildonce.promoting import Promoted
    from buildonce.publishing import Published
    from buildonce.reproduction import Report
    from buildonce.roots import Removed, Root
    from buildonce.signing.release import Verified

__all__ = [
    "bundled",
    "bundled_json",
    "carried",
    "carried_json",
    "findings",
    "locked",
    "locked_json",
    "plan",
    "promoted",
    "promoted_json",
    "published",
    "published_json",
    "release",
    "release_json",
    "removed",
    "reproduced",
    "reproduced_json",
    "roots",
    "size",
    "table",
    "verified",
    "verified_json",
]

_KIB = 1024
_MOST_OTHERS = 5


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
            click.echo(f"  {package} {target.compiling}")


def locked(made: Locked) -> None:
    """What was locked, and what will be compiled."""
    for target in targets.of(made.project.settings):
        packages, debs = made.lock.select(target), made.lock.debs(target)
        click.echo(f"{target.name}: {len(packages)} packages, {len(debs)} OS packages")
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
            {"name": c.name, "version": c.version, "target": c.target, "apt": list(c.apt), "possible": c.possible}
            for c in made.compiles
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
    for rebuilder in found.rebuilds.by:
        click.echo(f"reproduced by {rebuilder.name} {rebuilder.keyid}", err=True)
    for one in found.rebuilds.refused:
        click.echo(f"not counted: {one.where} {one.message}", err=True)


def verified_json(found: Verified) -> dict[str, Any]:
    """The result of ``release verify --json``."""
    manifest = found.manifest
    return {
        "name": manifest.name,
        "version": manifest.version.pep440,
        "commit": manifest.source.commit,
        "signers": [{"name": signer.name, "keyid": signer.keyid} for signer in found.signers],
        "reproduced_by": [{"name": one.name, "keyid": one.keyid} for one in found.rebuilds.by],
        "not_counted": [{"where": one.where, "message": one.message} for one in found.rebuilds.refused],
        "artifacts": [_artifact_json(artifact) for artifact in manifest.artifacts],
    }


def roots(found: Sequence[Root]) -> None:
    """The build roots, where they are, and whether the present lock is for them."""
    rows = [
        (
            "*" if root.locked else "",
            root.target or "?",
            root.key[:12],
            size(root.stored) if root.stored else "-",
            size(root.image) if root.image else "-",
            f"{datetime.fromtimestamp(root.used, UTC).astimezone():%Y-%m-%d %H:%M}",
        )
        for root in found
    ]
    click.echo(table(("", "target", "build root", "stored", "in Docker", "last used"), rows))
    if any(root.locked for root in found):
        click.echo("* is what the lock here is for", err=True)


def removed(found: Removed, *, dry_run: bool) -> None:
    """What was removed, and how much room that made."""
    for root in found.roots:
        click.echo(f"{root.target or '?'} {root.key[:12]}: {size(root.stored + root.image)}")
    for host in found.hosts:
        click.echo(f"{host.tag}: {size(host.size)}")
    for root in found.busy:
        click.echo(f"{root.target or '?'} {root.key[:12]} stays: a build is using it", err=True)
    if found.containers:
        click.echo(f"{found.containers} containers that killed builds had left in the Docker engine", err=True)
    click.echo(f"{size(found.size)} {'would be ' if dry_run else ''}removed", err=True)


def _short(digest: str) -> str:
    return f"{digest[:16]}…" if digest else "none"


def _explained(file: str, found: Difference) -> None:
    click.echo(f"\n{file}: {found.verdict}{f', first in {found.member}' if found.member else ''}")
    for line in found.lines:
        click.echo(f"  | {line}")
    for line in found.hint.splitlines():
        click.echo(f"  likely cause: {line}")
    for other in found.further[:_MOST_OTHERS]:
        click.echo(f"  also: {other}")
    if others := len(found.further[_MOST_OTHERS:]) + found.more:
        click.echo(f"  and {others} more")


def reproduced(report: Report) -> None:
    """Each file as it was published and as it was built now; what is different, and what that looks like."""
    rows = [(one.file, _short(one.expected), _short(one.found), "SAME" if one.same else "DIFF") for one in report.files]
    click.echo(f"recipe {report.recipe}: the inputs are the same")
    click.echo(table(("artifact", "expected", "got", ""), rows))
    for one in report.files:
        if one.difference:
            _explained(one.file, one.difference)
    for name in report.varied:
        click.echo(f"varied {name}", err=True)
    for name in report.not_varied:
        click.echo(f"not varied, because this machine cannot: {name}", err=True)
    if report.identical:
        click.echo(
            f"{report.name} {report.version} of commit {report.commit[:12]} is reproduced: every byte is the same",
            err=True,
        )
    if report.attestation:
        click.echo(f"attested in {report.attestation}", err=True)


def reproduced_json(report: Report) -> dict[str, Any]:
    """The result of ``release reproduce --json``."""
    return {
        "name": report.name,
        "version": report.version,
        "commit": report.commit,
        "source": report.source,
        "recipe": report.recipe,
        "identical": report.identical,
        "files": [
            {
                "file": one.file,
                "expected": one.expected or None,
                "got": one.found or None,
                "same": one.same,
                "difference": asdict(one.difference) if one.difference else None,
            }
            for one in report.files
        ],
        "varied": list(report.varied),
        "not_varied": list(report.not_varied),
        "kept": str(report.kept) if report.kept else None,
        "attestation": str(report.attestation) if report.attestation else None,
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


def published(found: Sequence[Published], *, dry_run: bool) -> None:
    """What went where; nothing when all of it was there."""
    rows = [(one.destination, parcel.name, size(parcel.size), parcel.sha256) for one in found for parcel in one.sent]
    if rows:
        click.echo(table(("to", "file", "size", "sha256"), rows))
    for one in found:
        what = f"{len(one.sent)} of {len(one.parcels)} ({size(one.sent_bytes)})" if one.sent else "nothing"
        done = "would be sent" if dry_run else "sent; read back and equal"
        click.echo(f"{one.destination}: {what} {done}\nin {one.place}", err=True)
        for line in one.use:
            click.echo(f"  {line}", err=True)


def published_json(found: Sequence[Published], *, dry_run: bool) -> dict[str, Any]:
    """The result of ``release publish --json``."""
    return {
        "dry_run": dry_run,
        "destinations": [
            {
                "name": one.destination,
                "place": one.place,
                "use": list(one.use),
                "sent": [{"file": p.name, "sha256": p.sha256, "size": p.size} for p in one.sent],
                "there": [{"file": p.name, "sha256": p.sha256, "size": p.size} for p in one.parcels if p.there],
            }
            for one in found
        ],
    }


def carried(made: Carried) -> None:
    """Where the bundle of a release is, and how the other side begins."""
    click.echo(f"{made.bundle}: {made.files} files, {size(made.size)}")
    click.echo(f"signed by {made.signer}\nthere: tar -xf {made.bundle.name}, then README.txt", err=True)


def carried_json(made: Carried) -> dict[str, Any]:
    """The result of ``release bundle DIR --json``."""
    facts = {"name": made.name, "version": made.version, "bundle": str(made.bundle)}
    return {**facts, "files": made.files, "size": made.size, "signer": made.signer}


def promoted(made: Promoted, *, dry_run: bool) -> None:
    """What moved, and where it is recorded."""
    published((made.published,), dry_run=dry_run)
    if made.record:
        click.echo(f"recorded by {made.signer}\nin {made.record}", err=True)


def promoted_json(made: Promoted, *, dry_run: bool) -> dict[str, Any]:
    """The result of ``release promote --json``."""
    (destination,) = published_json((made.published,), dry_run=dry_run)["destinations"]
    facts = {"name": made.name, "version": made.version, "from": made.source, "dry_run": dry_run}
    return {**facts, "to": destination, "record": made.record or None, "signer": made.signer or None}
