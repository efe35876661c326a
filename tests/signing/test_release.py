"""The signed folder: verified whole, or refused with the name of the file that is not as it was signed."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from buildonce import manifest, provenance, sbom
from buildonce.errors import ReleaseError, VerificationError
from buildonce.signing import PublicKey, dsse, release, sums
from buildonce.signing import bundle as bundles
from buildonce.system import canonical
from tests import small_release

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.signing import Key


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return small_release.key(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return small_release.key(tmp_path_factory.mktemp("keys"), "stranger")


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory, key: Key) -> Path:
    folder = small_release.unsigned(tmp_path_factory.mktemp("release") / "tinyapp")
    release.sign(folder, key)
    return folder


@pytest.fixture
def folder(tmp_path: Path, signed: Path) -> Path:
    """A release of one's own to spoil."""
    return shutil.copytree(signed, tmp_path / "tinyapp")


def everything(folder: Path) -> dict[str, bytes]:
    """Every file but the logs."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name != "log"
    }


def where(folder: Path, *trusted: PublicKey) -> str:
    """The file that the refusal names."""
    with pytest.raises(VerificationError) as caught:
        release.verify(folder, trusted)
    return caught.value.problems[0].where


def test_a_release_is_verified_and_says_what_it_is(signed: Path, key: Key) -> None:
    found = release.verify(signed, [key.public])

    assert found.signers == (key.public,)
    assert found.others == ()
    assert found.manifest.name == "tinyapp"
    assert found.manifest.version == small_release.VERSION
    assert {artifact.file for artifact in found.manifest.artifacts} == {
        name for name in found.files if name.startswith("tinyapp")
    }
    assert set(found.files) > {manifest.FILE, sbom.FILE, provenance.FILE}


def test_the_folder_holds_the_files_of_the_contract(signed: Path, key: Key) -> None:
    attested = {f"attestations/{key.public.folder}/{name}.sigstore.json" for name in ("release", "provenance", "sbom")}

    assert everything(signed).keys() - release.verify(signed, [key.public]).files == {
        *("SHA256SUMS", "SHA256SUMS.sig", "SHA256SUMS.sshsig", "SHA256SUMS.asc"),
        *attested,
    }


def test_signing_again_gives_the_same_bytes(folder: Path, key: Key) -> None:
    before = everything(folder)

    release.sign(folder, key)

    assert everything(folder) == before


def test_a_flipped_byte_in_any_file_is_refused_and_the_file_named(folder: Path, key: Key) -> None:
    for name, data in everything(folder).items():
        for place in (0, len(data) // 2, len(data) - 1):
            (folder / name).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])

            assert where(folder, key.public) == name

        (folder / name).write_bytes(data)
    release.verify(folder, [key.public])


def test_a_missing_file_is_named(folder: Path, key: Key) -> None:
    for name, data in everything(folder).items():
        (folder / name).unlink()

        assert where(folder, key.public) == name

        (folder / name).write_bytes(data)


@pytest.mark.parametrize("name", ["extra.txt", ".hidden", "attestations/extra", "attestations/{signer}/extra"])
def test_a_file_that_nobody_signed_is_named(folder: Path, key: Key, name: str) -> None:
    name = name.format(signer=key.public.folder)
    (folder / name).write_text("hello")

    assert where(folder, key.public) == name


def test_logs_are_not_part_of_it(folder: Path, key: Key) -> None:
    shutil.rmtree(folder / "log")
    release.verify(folder, [key.public])


def test_a_link_in_place_of_a_file_is_refused(folder: Path, key: Key, tmp_path: Path) -> None:
    for name in everything(folder):
        moved = (folder / name).rename(tmp_path / "elsewhere")
        (folder / name).symlink_to(moved)

        assert where(folder, key.public) == name

        (folder / name).unlink()
        moved.rename(folder / name)


def test_a_pipe_in_place_of_a_file_is_refused_without_waiting(folder: Path, key: Key) -> None:
    (folder / "release.json").unlink()
    os.mkfifo(folder / "release.json")

    assert where(folder, key.public) == "release.json"


def test_a_signature_without_end_is_refused(folder: Path, key: Key) -> None:
    with (folder / "SHA256SUMS.asc").open("ab") as stream:
        stream.truncate(1 << 30)

    assert where(folder, key.public) == "SHA256SUMS.asc"


def test_another_key_is_refused_and_both_are_named(signed: Path, stranger: Key) -> None:
    with pytest.raises(VerificationError, match="no trusted key") as caught:
        release.verify(signed, [stranger.public])

    assert stranger.public.keyid in caught.value.problems[0].hint


def test_without_a_key_nothing_is_verified(signed: Path) -> None:
    with pytest.raises(ReleaseError, match="no key to verify with"):
        release.verify(signed, [])


def test_one_key_under_two_names_is_one_signer(folder: Path, key: Key) -> None:
    alias = PublicKey(spki=key.public.spki, name="alias")
    shutil.copytree(folder / "attestations" / key.public.folder, folder / "attestations" / "alias")

    found = release.verify(folder, [key.public, alias])

    assert len(found.signers) == 1


def test_a_second_signer_counts_when_trusted_and_harms_nothing_when_not(folder: Path, key: Key, stranger: Key) -> None:
    release.attest(folder, stranger, mode="ci")

    both = release.verify(folder, [key.public, stranger.public])
    one = release.verify(folder, [key.public])

    assert set(both.signers) == {key.public, stranger.public}
    assert one.signers == (key.public,)
    assert one.others == (stranger.public.folder,)


def test_statements_of_a_stranger_alone_are_not_enough(folder: Path, key: Key, stranger: Key) -> None:
    release.attest(folder, stranger, mode="ci")
    shutil.rmtree(folder / "attestations" / key.public.folder)

    assert where(folder, key.public) == "attestations"


def test_bundles_that_are_swapped_are_refused(folder: Path, key: Key) -> None:
    place = folder / "attestations" / key.public.folder
    shutil.copyfile(place / "sbom.sigstore.json", place / "provenance.sigstore.json")

    assert where(folder, key.public) == f"attestations/{key.public.folder}/provenance.sigstore.json"


def test_a_folder_with_bundles_of_two_signers_is_refused(folder: Path, key: Key, stranger: Key) -> None:
    """One bundle of another among them makes it nobody's folder; a stranger's alone would be no error."""
    release.attest(folder, stranger, mode="ci")
    mine, theirs = (folder / "attestations" / one.public.folder / "sbom.sigstore.json" for one in (key, stranger))
    shutil.copyfile(mine, theirs)

    assert where(folder, key.public) == f"attestations/{stranger.public.folder}"


def test_files_of_two_releases_do_not_mix(folder: Path, key: Key, tmp_path: Path) -> None:
    """Every file of the other release is signed by the same key; each is refused in this one."""
    other = small_release.unsigned(tmp_path / "other")
    (other / "release.json").write_bytes((other / "release.json").read_bytes().replace(b"0.1.0", b"0.1.1"))
    (other / "SHA256SUMS").write_bytes(sums.sums(other))
    release.sign(other, key)
    release.verify(other, [key.public])
    mine = everything(folder)

    for name in mine:
        if everything(other)[name] != mine[name]:
            shutil.copyfile(other / name, folder / name)

            assert where(folder, key.public)

            (folder / name).write_bytes(mine[name])


def _resigned(folder: Path, key: Key, name: str, payload: bytes) -> str:
    where = f"attestations/{key.public.folder}/{name}.sigstore.json"
    (folder / where).write_bytes(bundles.write(dsse.sign(key, payload)))
    return where


def test_a_statement_about_other_files_is_refused_even_when_a_trusted_key_signed_it(folder: Path, key: Key) -> None:
    document = json.loads((folder / "provenance.json").read_bytes())
    document["subject"][0]["digest"]["sha256"] = "0" * 64

    place = _resigned(folder, key, "provenance", provenance.by(canonical.dump(document), "ci"))

    assert where(folder, key.public) == place


def test_a_builder_that_is_none_of_ours_is_refused(folder: Path, key: Key) -> None:
    signed = json.loads(provenance.by((folder / "provenance.json").read_bytes(), "ci"))
    signed["predicate"]["runDetails"]["builder"]["id"] = "urn:other"

    place = _resigned(folder, key, "provenance", canonical.dump(signed))

    assert where(folder, key.public) == place


def test_a_statement_that_is_no_json_is_refused(folder: Path, key: Key) -> None:
    place = _resigned(folder, key, "provenance", b"hello")

    assert where(folder, key.public) == place


def test_sums_that_list_too_little_are_refused_even_when_signed(folder: Path, key: Key) -> None:
    lines = (folder / "SHA256SUMS").read_bytes().splitlines(keepends=True)
    (folder / "SHA256SUMS").write_bytes(b"".join(line for line in lines if b".pex" not in line))

    with pytest.raises(VerificationError, match=r"\.pex is not listed"):
        release.sign(folder, key)


def test_only_a_whole_release_is_signed(tmp_path: Path, key: Key) -> None:
    (tmp_path / "SHA256SUMS").write_bytes(b"")

    with pytest.raises(VerificationError):
        release.sign(tmp_path, key)

    assert [path.name for path in tmp_path.iterdir()] == ["SHA256SUMS"]


def test_the_signed_provenance_names_the_kind_of_builder(folder: Path, key: Key) -> None:
    release.sign(folder, key, mode="ci")

    payload = bundles.parse(
        (folder / "attestations" / key.public.folder / "provenance.sigstore.json").read_bytes(), where=""
    ).payload
    assert json.loads(payload)["predicate"]["runDetails"]["builder"]["id"] == "urn:buildonce:builder:ci:v1"
    release.verify(folder, [key.public])
