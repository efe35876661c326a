"""Every fault that an artifact can have behind true digests and true signatures: the proof finds and names it.

Artifacts are changed by somebody who repairs every digest inside them (``repacking``), and then even signs the
release anew with the right key: nothing but the comparison with the Tree can notice.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buildonce import cli, manifest, proof, provenance, sbom
from buildonce.errors import VerificationError
from buildonce.signing import keys, release, sums
from buildonce.system import canonical, files
from tests.integration.repacking import CARRIERS, FORMATS, Item

if TYPE_CHECKING:
    from collections.abc import Callable

    from buildonce.manifest import Manifest
    from buildonce.model import Artifact
    from tests.integration.conftest import Built
    from tests.integration.repacking import Items

APP, GONE, EXTRA = "orders/app.py", "orders/settings.py", "orders/extra.py"


def changed(items: Items) -> None:
    items[APP] = items[APP].with_data(items[APP].data + b"# changed\n")


def added(items: Items) -> None:
    items[EXTRA] = Item(b"x = 1\n")


def removed(items: Items) -> None:
    del items[GONE]


def moded(mode: int) -> Callable[[Items], None]:
    def change(items: Items) -> None:
        items[APP] = items[APP].with_mode(mode)

    return change


@dataclass(frozen=True)
class Fault:
    """What is done to the artifact of *kind*, and the lines in which the proof has to name it."""

    kind: str
    title: str
    seed: Callable[[Path], Path]
    named: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind}-{self.title}"


def every_fault() -> list[Fault]:
    found = []
    for kind, format_ in FORMATS.items():
        site = format_.site
        edits: dict[str, tuple[Callable[[Items], None], str]] = {
            "a changed file": (changed, f"content differs: {site}{APP} "),
            "an extra file": (added, f"unexpected: {site}{EXTRA}"),
            "a missing file": (removed, f"missing: {site}{GONE}"),
            "another mode": (moded(0o755), f"mode differs: {site}{APP} 0644 → 0755"),
        }
        if kind in ("deb", "oci"):  # what wheels cannot say
            edits["a set-user-ID file"] = (moded(0o4755), f"mode differs: {site}{APP} 0644 → 4755")
            edits["a file only root reads"] = (moded(0o600), f"mode differs: {site}{APP} 0644 → 0600")
        for title, (change, line) in edits.items():
            found.append(Fault(kind, title, partial(format_.edit, change=change), (line,)))
        revision = "-1+deb12" if kind == "deb" else ""
        found.append(
            Fault(
                kind,
                "a wrong version",
                partial(format_.call_it, version="9.9"),
                (
                    f"version differs: expected 1.4.0{revision}, found 9.9{revision}",
                    "content differs: orders-1.4.0/PKG-INFO"
                    if kind == "sdist"
                    else f"unexpected: {site}orders-9.9.dist-info/METADATA",
                ),
            )
        )
    for kind, carrier in CARRIERS.items():
        line = f"missing: {carrier.site}idna/__init__.py"
        found.append(Fault(kind, "a missing wheel", partial(carrier.drop, dist="idna"), (line,)))
    return found


FAULTS = every_fault()


@pytest.fixture(scope="module")
def said(first: Built) -> Manifest:
    return manifest.read((first.folder / manifest.FILE).read_bytes())


def artifact_of(kind: str, said: Manifest) -> Artifact:
    return next(artifact for artifact in said.artifacts if artifact.kind == kind)


def expectation(artifact: Artifact, said: Manifest) -> proof.Expectation:
    """What `release verify` expects, from the signed manifest."""
    target = said.built(artifact.target).target
    return proof.Expectation(
        name=said.name,
        distribution=said.distribution,
        version=proof.spelled(artifact, said.version, said.version.deb(target)),
        tree=said.built(artifact.target).tree,
        interpreter=str(target.interpreter),
    )


def seeded(fault: Fault, first: Built, said: Manifest, folder: Path) -> tuple[Artifact, Path]:
    """The artifact as the manifest has it, and the changed file."""
    artifact = artifact_of(fault.kind, said)
    folder.mkdir()
    return artifact, fault.seed(Path(shutil.copy(first.folder / artifact.file, folder)))


@pytest.mark.parametrize("kind", FORMATS)
def test_repacked_without_a_fault_it_is_as_good_as_before(
    kind: str, first: Built, said: Manifest, home: Path, tmp_path: Path
) -> None:
    """So that the refusals below are about the faults, and not about how artifacts are repacked here."""
    fault = Fault(kind, "none", partial(FORMATS[kind].edit, change=lambda _: None), ())
    artifact, path = seeded(fault, first, said, tmp_path / "changed")

    proof.check(replace(artifact, path=path), expectation(artifact, said))
    assert verify(signed_anew(first.folder, artifact, path, home, tmp_path / "release"), home) == 0


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_the_proof_names_it_and_release_verify_ends_with_4(
    fault: Fault, first: Built, said: Manifest, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact, path = seeded(fault, first, said, tmp_path / "changed")

    with pytest.raises(VerificationError) as caught:
        proof.check(replace(artifact, path=path), expectation(artifact, said))

    headline, *lines = caught.value.problems
    assert headline.message == f"{path.name} does not hold what was built"
    assert headline.where == fault.kind
    for named in fault.named:
        assert any(line.message.startswith(named) for line in lines), [line.message for line in lines]
    assert {line.where for line in lines} == {path.name}

    folder = signed_anew(first.folder, artifact, path, home, tmp_path / "release")
    code = verify(folder, home)

    told = capsys.readouterr().err
    assert code == 4, told
    assert headline.message in told
    for named in fault.named:
        assert named in told


@pytest.mark.parametrize("kind", FORMATS)
def test_without_the_key_the_digest_tells(
    kind: str,
    orders: object,
    first: Built,
    said: Manifest,
    tmp_path: Path,
    home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = linked(first.folder, tmp_path / "release")
    artifact = artifact_of(kind, said)
    path = folder / artifact.file
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    FORMATS[kind].edit(path, changed)

    assert verify(folder, home) == 4
    told = capsys.readouterr().err
    assert artifact.file in told
    assert f"{artifact.sha256} was signed" in told


def verify(folder: Path, home: Path) -> int | str | None:
    """The exit code of ``release verify``, with the key that made the signatures."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["verify", str(folder), "--key", str(home / "buildonce/keys/workstation.pub")])
    return ended.value.code


def linked(folder: Path, into: Path) -> Path:
    """A copy of the release to spoil: its files are links, to be replaced and never written to."""
    return shutil.copytree(folder, into, copy_function=os.link)


def signed_anew(folder: Path, artifact: Artifact, changed: Path, home: Path, into: Path) -> Path:
    """A release of *changed* alone, in the place of *artifact*: all documents and signatures fit, the Tree stays."""
    into.mkdir()
    shutil.move(changed, into / changed.name)
    shutil.copy(folder / sbom.FILE, into)
    digest, size = files.sha256_file(into / changed.name), (into / changed.name).stat().st_size
    for name in (manifest.FILE, provenance.FILE):
        document = json.loads((folder / name).read_bytes())
        document["subject"] = [{"name": changed.name, "digest": {"sha256": digest}}]
        if name == manifest.FILE:
            (row,) = (one for one in document["predicate"]["artifacts"] if one["file"] == artifact.file)
            document["predicate"]["artifacts"] = [{**row, "file": changed.name, "sha256": digest, "size": size}]
        files.write_atomically(into / name, canonical.dump(document))
    files.write_atomically(into / sums.FILE, sums.sums(into))
    release.sign(into, keys.workstation(home / "buildonce" / "keys")[0])
    return into
