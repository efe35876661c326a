"""What a host takes for the release that was signed, and what it does not unpack."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from buildonce import manifest
from buildonce.signing import openpgp, sums
from buildonce.system import files
from tests import small_release
from tests.recipes.host_program import load, plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from buildonce.signing import Key

parcels = load("parcels")
plans = load("plan")
shell = load("shell")
trust = load("trust")
problems = load("problems")

DEB = next(iter(plan()["artifacts"].values()))["file"]
PEX = f"tinyapp-{small_release.VERSION.pep440}-debian-12.pex"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return small_release.key(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def parcel(tmp_path: Path, key: Key) -> Path:
    """What is unpacked of a parcel: the deb, the manifest, the sums and their signature."""
    release, folder = small_release.unsigned(tmp_path / "release"), tmp_path / "parcel"
    folder.mkdir()
    for name in (DEB, manifest.FILE, sums.FILE):
        shutil.copy(release / name, folder)
    sign(folder, key)
    (tmp_path / "key.gpg").write_bytes(openpgp.certificate(key))
    return folder


def sign(folder: Path, key: Key) -> None:
    signature = openpgp.sign(key, (folder / sums.FILE).read_bytes(), time=small_release.EPOCH)
    (folder / f"{sums.FILE}.asc").write_bytes(signature)


def verify(folder: Path, **changes: Any) -> None:
    data = files.sha256_file(folder.parent / "release" / DEB)
    fields = plan()
    row = {**fields["artifacts"]["debian-12"], "sha256": data, **changes.pop("row", {})}
    rows = {"debian-12": row, **changes.pop("others", {})}
    wanted = plans.of({**fields, "artifacts": rows, **changes})
    trust.verify(folder, folder.parent / "key.gpg", wanted, wanted.artifacts["debian-12"])


def test_the_signed_release_is_taken(parcel: Path) -> None:
    verify(parcel)


def flip(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)


def relist(folder: Path, name: str) -> None:
    """The sums as whoever changed the file would write them."""
    found = dict(sums.read((folder / sums.FILE).read_bytes()))
    found[name] = files.sha256_file(folder / name)
    (folder / sums.FILE).write_text("".join(f"{found[one]}  {one}\n" for one in sorted(found)))


def rewritten(folder: Path, key: Key, change: Callable[[dict[str, Any]], object]) -> None:
    """Another manifest, signed by the right key."""
    said = json.loads((folder / manifest.FILE).read_bytes())
    change(said["predicate"])
    (folder / manifest.FILE).write_text(json.dumps(said))
    relist(folder, manifest.FILE)
    sign(folder, key)


def other_key(folder: Path, key: Key) -> None:
    sign(folder, small_release.key(folder.parent / "other", "other"))


def changed_and_listed(folder: Path, key: Key) -> None:
    flip(folder, DEB)
    relist(folder, DEB)


def added_and_listed(folder: Path, key: Key) -> None:
    (folder / "more").write_text("more")
    relist(folder, "more")


def signed_twice(folder: Path, key: Key) -> None:
    signature = folder / f"{sums.FILE}.asc"
    first = signature.read_bytes()
    other_key(folder, key)
    signature.write_bytes(first + signature.read_bytes())


ATTACKS: dict[str, Callable[[Path, Key], object]] = {
    "deb changed": lambda folder, _: flip(folder, DEB),
    "deb and sums changed": changed_and_listed,
    "sums changed": lambda folder, _: flip(folder, sums.FILE),
    "manifest changed": lambda folder, _: flip(folder, manifest.FILE),
    "signature changed": lambda folder, _: flip(folder, f"{sums.FILE}.asc"),
    "signature missing": lambda folder, _: (folder / f"{sums.FILE}.asc").unlink(),
    "signature empty": lambda folder, _: (folder / f"{sums.FILE}.asc").write_text(""),
    "signed by another key": other_key,
    "signed by another key, too": signed_twice,
    "file added": lambda folder, _: (folder / "more").write_text("more"),
    "file added and listed": added_and_listed,
    "sums missing": lambda folder, _: (folder / sums.FILE).unlink(),
    "deb missing": lambda folder, _: (folder / DEB).unlink(),
    "manifest missing": lambda folder, _: (folder / manifest.FILE).unlink(),
    "key missing": lambda folder, _: (folder.parent / "key.gpg").unlink(),
    "another name": lambda folder, key: rewritten(folder, key, lambda said: said.update(name="other")),
    "another version": lambda folder, key: rewritten(folder, key, lambda said: said["version"].update(pep440="1.0")),
    "no artifacts": lambda folder, key: rewritten(folder, key, lambda said: said.pop("artifacts")),
    "not an object": lambda folder, key: rewritten(folder, key, lambda said: said.update(targets=[1])),
    "another Debian version": lambda folder, key: rewritten(
        folder, key, lambda said: said["targets"][0].update(deb="1.0-1")
    ),
    "another architecture": lambda folder, key: rewritten(
        folder, key, lambda said: said["targets"][0].update(architecture="arm64")
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_else_is_taken(attack: str, parcel: Path, key: Key) -> None:
    ATTACKS[attack](parcel, key)
    with pytest.raises(problems.Refused) as refused:
        verify(parcel)
    assert refused.value.problem.kind == "verification"


@pytest.mark.parametrize(
    "change",
    [
        {"version": "1.0"},
        {"name": "other"},
        {"format": "pex"},
        {"row": {"sha256": "1" * 64}},
        {"row": {"file": "more"}},
    ],
    ids=str,
)
def test_a_plan_for_another_release(change: dict[str, Any], parcel: Path) -> None:
    with pytest.raises(problems.Refused) as refused:
        verify(parcel, **change)
    assert refused.value.problem.kind == "verification"


def test_no_plan_does_without_a_signature(parcel: Path) -> None:
    verify(parcel, signed=False)
    (parcel / f"{sums.FILE}.asc").unlink()
    with pytest.raises(problems.Refused):
        verify(parcel, signed=False)


def test_packages_of_the_distribution(parcel: Path) -> None:
    """They are those of the plan, for this target or another one."""
    (parcel / "libpq5_15_amd64.deb").write_bytes(b"package")
    digest = files.sha256_bytes(b"package")
    verify(parcel, row={"packages": {"libpq5_15_amd64.deb": digest}})
    for packages in ({}, {"libpq5_15_amd64.deb": "1" * 64}, {"libpq5_16_amd64.deb": digest}):
        with pytest.raises(problems.Refused):
            verify(parcel, row={"packages": packages})
    other = {**plan()["artifacts"]["debian-12"], "packages": {"libpq5_15_amd64.deb": digest}}
    verify(parcel, others={"debian-13": other})


def test_a_package_in_the_place_of_a_file_of_the_release(parcel: Path) -> None:
    flip(parcel, DEB)
    with pytest.raises(problems.Refused):
        verify(parcel, row={"packages": {DEB: files.sha256_file(parcel / DEB)}})


def test_a_host_without_a_verifier(parcel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "there", lambda _: False)
    with pytest.raises(problems.Refused) as refused:
        verify(parcel)
    assert refused.value.problem.hint == "apt install gpgv"


@pytest.mark.parametrize("text", ["", "0", f"{'0' * 64} a\n", f"{'0' * 64}  ../a\n", f"{'0' * 64}  a\n" * 2])
def test_sums_that_are_none(text: str) -> None:
    with pytest.raises(problems.Refused):
        trust.sums(text.encode())


def member(name: str, kind: bytes = tarfile.REGTYPE, **facts: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in facts.items():
        setattr(info, key, value)
    data = b"data" if kind == tarfile.REGTYPE else b""
    info.size = len(data)
    return info, data


def packed(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    "bad",
    [
        member("../up"),
        member("/absolute"),
        member("folder/../../up"),
        member("folder//file"),
        member(".hidden"),
        member("a b"),
        member("a\nb"),
        member(""),
        member("link", tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("link", tarfile.LNKTYPE, linkname="good"),
        member("device", tarfile.CHRTYPE),
        member("disk", tarfile.BLKTYPE),
        member("pipe", tarfile.FIFOTYPE),
        member("good"),
    ],
    ids=lambda one: f"{one[0].name!r} {one[0].type!r}",
)
@pytest.mark.parametrize("flat", [True, False])
def test_what_is_not_unpacked(bad: tuple[tarfile.TarInfo, bytes], flat: bool, tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    archive = packed(tmp_path / "parcel.tar", member("good"), bad)
    with pytest.raises(problems.Refused) as refused:
        parcels.unpack(archive, tmp_path / "into", flat=flat)
    assert refused.value.problem.kind == "verification"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["good", "into", "parcel.tar"]


def test_files_and_their_modes(tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    program, secret = member("bin/program", mode=0o4755), member("secret", mode=0o600)
    archive = packed(tmp_path / "house.tar", member("./", tarfile.DIRTYPE), program, secret)
    assert parcels.unpack(archive, tmp_path / "into", flat=False) == ["bin/program", "secret"]
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (tmp_path / "into").rglob("*") if path.is_file()}
    assert modes == {"program": 0o755, "secret": 0o644}


def test_no_folders_in_a_parcel(tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    with pytest.raises(problems.Refused):
        parcels.unpack(packed(tmp_path / "parcel.tar", member("folder/file")), tmp_path / "into", flat=True)


@pytest.mark.parametrize("keep", [0, 100, 700])
def test_a_parcel_that_was_cut_off(keep: int, tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    archive = packed(tmp_path / "parcel.tar", member("one"), member("two"))
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(problems.Refused) as refused:
        parcels.unpack(archive, tmp_path / "into", flat=True)
    assert refused.value.problem.kind == "verification"


def test_a_parcel_that_finds_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "into").mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 7, 3))
    with pytest.raises(problems.Refused):
        parcels.unpack(packed(tmp_path / "parcel.tar", member("one")), tmp_path / "into", flat=True)
    assert list((tmp_path / "into").iterdir()) == []
