"""A release in a folder, a part of one, or on a server: verified before anything of it is believed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from buildonce import manifest, provenance
from buildonce.errors import ReleaseError, VerificationError
from buildonce.reproduction import published
from buildonce.signing import sums
from tests import small_release
from tests.system import server as servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buildonce.reproduction.published import Published
    from buildonce.signing import Key
    from buildonce.system import System
    from tests.system.server import FileServer

PEX = f"tinyapp-{small_release.VERSION.pep440}-debian-12.pex"
DEB = f"tinyapp_{small_release.VERSION.debian}-1+deb12_amd64.deb"


@pytest.fixture
def server(signed: Path) -> Iterator[FileServer]:
    """Serves the release below /releases/tinyapp/ to whoever asks for a file; it lists no folders."""
    with servers.serving() as found:
        for path in signed.iterdir():
            if path.is_file():
                found.files[f"/releases/tinyapp/{path.name.replace('+', '%2B')}"] = path.read_bytes()
        yield found


def find(where: str | Path, key: Key, system: System, tmp_path: Path) -> Published:
    return published.find(str(where), tmp_path, [key.public], tmp_path / "fetched", system)


def test_a_folder(folder: Path, key: Key, system: System, tmp_path: Path) -> None:
    for where in (folder, folder / manifest.FILE, folder.name, f"{folder.name}/{manifest.FILE}"):
        found = find(where, key, system, tmp_path)
        assert found.folder == folder
        assert found.provenance == (folder / provenance.FILE).read_bytes()
        assert found.verified.releasers == (key.public,)
        assert found.artifact(PEX, system) == folder / PEX


def test_the_documents_are_enough(folder: Path, key: Key, system: System, tmp_path: Path) -> None:
    (folder / PEX).unlink()

    found = find(folder / manifest.FILE, key, system, tmp_path)

    assert found.verified.files[PEX]
    assert found.artifact(PEX, system) is None
    assert found.artifact(DEB, system) == folder / DEB


@pytest.mark.parametrize("partial", [False, True])
def test_what_is_there_has_to_be_what_was_signed(
    partial: bool, folder: Path, key: Key, system: System, tmp_path: Path
) -> None:
    (folder / DEB).write_bytes(b"another deb\n")
    if partial:
        (folder / PEX).unlink()
    with pytest.raises(VerificationError, match=r"its sha256 is .*was signed"):
        find(folder, key, system, tmp_path)


def test_a_link_is_not_followed(folder: Path, key: Key, system: System, tmp_path: Path) -> None:
    (folder / PEX).unlink()
    (folder / DEB).rename(tmp_path / DEB)
    (folder / DEB).symlink_to(tmp_path / DEB)
    with pytest.raises(VerificationError, match="is not a plain file"):
        find(folder, key, system, tmp_path)


@pytest.mark.parametrize("name", [manifest.FILE, provenance.FILE, sums.FILE, f"{sums.FILE}.sig"])
def test_a_changed_document_is_refused(name: str, folder: Path, key: Key, system: System, tmp_path: Path) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
    with pytest.raises(VerificationError):
        find(folder, key, system, tmp_path)


def test_a_release_by_a_stranger_is_refused(folder: Path, system: System, tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="no trusted key signed it"):
        find(folder, small_release.key(tmp_path, "stranger"), system, tmp_path)


@pytest.mark.parametrize("where", ["", "nowhere", "empty"])
def test_no_release(where: str, key: Key, system: System, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReleaseError, match=r"there is no release here") as caught:
        find(where, key, system, tmp_path)
    assert caught.value.exit_code == 1
    assert "dist/NAME-VERSION" in caught.value.problems[0].hint


@pytest.mark.parametrize("end", ["", "/", "/release.json"])
def test_a_url_gives_the_documents_first(
    end: str, server: FileServer, key: Key, system: System, tmp_path: Path
) -> None:
    found = find(server.url(f"/releases/tinyapp{end}"), key, system, tmp_path)

    assert found.verified.manifest.name == "tinyapp"
    assert {os.path.basename(path) for _, path, _ in server.requests} == {  # noqa: PTH119 - of a URL
        *("SHA256SUMS", "SHA256SUMS.sig", "SHA256SUMS.sshsig", "SHA256SUMS.asc"),
        *("release.json", "provenance.json", "sbom.cdx.json"),
    }


def test_of_a_url_artifacts_are_fetched_when_they_are_asked_for(
    server: FileServer, signed: Path, key: Key, system: System, tmp_path: Path
) -> None:
    found = find(server.url("/releases/tinyapp"), key, system, tmp_path)
    before = len(server.requests)

    first, again = found.artifact(PEX, system), found.artifact(PEX, system)

    assert first == again
    assert first is not None
    assert first.read_bytes() == (signed / PEX).read_bytes()
    assert len(server.requests) == before + 1


def test_an_artifact_that_the_server_changed_or_lost(
    server: FileServer, key: Key, system: System, tmp_path: Path, notes: list[str]
) -> None:
    found = find(server.url("/releases/tinyapp"), key, system, tmp_path)
    quoted = "/releases/tinyapp/" + PEX.replace("+", "%2B")
    del server.files[quoted]
    assert found.artifact(PEX, system) is None
    assert notes[0].startswith(f"{PEX} cannot be fetched")

    server.files[quoted] = b"something else"
    with pytest.raises(VerificationError, match=r"was signed"):
        found.artifact(PEX, system)


def test_a_url_without_a_release(server: FileServer, key: Key, system: System, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError) as caught:
        find(server.url("/releases/another"), key, system, tmp_path)
    assert "SHA256SUMS" in caught.value.problems[0].where
