"""Every file that either side lists is compared; what differs is explained and kept."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from buildonce import manifest
from buildonce.reproduction import comparing, published
from tests import small_release

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.reproduction.comparing import Compared
    from buildonce.reproduction.published import Published
    from buildonce.signing import Key
    from buildonce.system import System

PEX = f"tinyapp-{small_release.VERSION.pep440}-debian-12.pex"
DEB = f"tinyapp_{small_release.VERSION.debian}-1+deb12_amd64.deb"
WHEEL = f"tinyapp-{small_release.VERSION.pep440}-py3-none-any.whl"
DIFFOSCOPE = """\
#!/bin/sh
for one; do case $one in --json=*) echo "$@" > "${one#--json=}";; esac; done
exit 1
"""


@pytest.fixture
def release(signed: Path, key: Key, system: System, tmp_path: Path) -> Published:
    return published.find(str(signed), tmp_path, [key.public], tmp_path / "fetched", system)


def by_name(found: tuple[Compared, ...]) -> dict[str, Compared]:
    return {one.file: one for one in found}


def test_the_same_bytes(release: Published, folder: Path, system: System) -> None:
    (folder / "SHA256SUMS.sig").write_bytes(b"another key's")
    found = comparing.compare(release, folder, system)

    assert all(one.same and one.difference is None for one in found)
    assert by_name(found).keys() == release.verified.files.keys()
    assert [one.file for one in found][-3:] == ["provenance.json", "release.json", "sbom.cdx.json"]


def test_artifacts_that_differ_are_explained_and_documents_that_follow_are_not(
    release: Published, folder: Path, system: System
) -> None:
    (folder / DEB).write_bytes(b"another deb\n")
    (folder / manifest.FILE).write_bytes(b"{}")

    found = by_name(comparing.compare(release, folder, system))

    assert {name for name, one in found.items() if not one.same} == {DEB, manifest.FILE}
    assert found[DEB].difference is not None
    assert found[manifest.FILE].difference is None


def test_a_document_alone_is_explained(release: Published, folder: Path, system: System) -> None:
    (folder / manifest.FILE).write_bytes(b"{}")
    found = by_name(comparing.compare(release, folder, system))
    assert found[manifest.FILE].difference is not None


def test_a_file_on_one_side_only_differs(release: Published, folder: Path, system: System) -> None:
    (folder / PEX).rename(folder / "another.pex")
    found = by_name(comparing.compare(release, folder, system))
    assert (found[PEX].found, found["another.pex"].expected) == ("", "")
    assert not found[PEX].same
    assert not found["another.pex"].same


def test_only_what_differs_is_kept_and_the_place_is_its_own(
    release: Published, folder: Path, system: System, tmp_path: Path
) -> None:
    (folder / DEB).write_bytes(b"another deb\n")
    into = tmp_path / "below" / "kept"
    for _ in range(2):
        again = shutil.copytree(folder, tmp_path / "again", dirs_exist_ok=True)
        found = comparing.compare(release, again, system)
        assert comparing.keep(found, release, again, into, system) == into
        (into / "stale").touch()

    found = comparing.compare(release, folder, system)
    comparing.keep(found, release, folder, into, system)
    assert [str(path.relative_to(into)) for path in into.rglob("*")] == ["rebuilt", f"rebuilt/{DEB}"]
    assert (into / "rebuilt" / DEB).read_bytes() == b"another deb\n"
    assert (folder / WHEEL).exists()
    assert [path.name for path in into.parent.iterdir()] == ["kept"]


def test_diffoscope_is_run_when_it_is_there(
    release: Published, folder: Path, system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program of that name, which writes down how it was called where it was told to."""
    program = tmp_path / "bin" / "diffoscope"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\nfor one; do case $one in --json=*) echo "$@" > "${one#--json=}";; esac; done\nexit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    (folder / DEB).write_bytes(b"another deb\n")

    found = comparing.compare(release, folder, system)
    kept = comparing.keep(found, release, folder, tmp_path / "kept", system)

    said = (kept / f"{DEB}.diffoscope.json").read_text().split()
    assert said[-2] == str(release.folder / DEB)
    assert said[-1].endswith(f"rebuilt/{DEB}")
    assert {"--exclude-directory-metadata=yes", "--max-report-size=10485760", "--timeout=300"} <= {*said}
