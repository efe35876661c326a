"""Who reproduced a release: each trusted key once, never the releaser's; all else is named and not counted."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from buildonce import statement
from buildonce.signing import PublicKey, attestations, bundle, dsse, rebuilds, release
from tests import small_release

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.signing import Key


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Key]:
    """A releaser, two rebuilders and a stranger."""
    folder = tmp_path_factory.mktemp("keys")
    return {name: small_release.key(folder, name) for name in ("team", "ada", "bob", "stranger")}


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, Key]) -> Path:
    folder = small_release.unsigned(tmp_path_factory.mktemp("release") / "tinyapp")
    release.sign(folder, keys["team"])
    return folder


@pytest.fixture
def folder(tmp_path: Path, signed: Path) -> Path:
    return shutil.copytree(signed, tmp_path / "tinyapp")


@pytest.fixture
def trusted(keys: dict[str, Key]) -> list[PublicKey]:
    return [keys[name].public for name in ("team", "ada", "bob")]


def rebuild(folder: Path, key: Key) -> Path:
    """The bundle that *key* adds to the release."""
    said = release.documents(folder, [_any_of(folder)]).manifest
    return rebuilds.write(folder, said, key, "workstation") / attestations.VSA


def _any_of(folder: Path) -> PublicKey:
    return PublicKey.load(folder.parent / "team.pub")


@pytest.fixture(autouse=True)
def public_file(tmp_path: Path, keys: dict[str, Key]) -> None:
    (tmp_path / "team.pub").write_bytes(keys["team"].public.pem)


def counted(folder: Path, trusted: list[PublicKey]) -> tuple[list[str], list[tuple[str, str]]]:
    found = release.verify(folder, trusted).rebuilds
    return [one.name for one in found.by], [(one.where, one.message) for one in found.refused]


def test_a_release_that_nobody_rebuilt(folder: Path, trusted: list[PublicKey]) -> None:
    assert counted(folder, trusted) == ([], [])


def test_each_rebuilder_counts_and_nothing_signed_before_changes(
    folder: Path, keys: dict[str, Key], trusted: list[PublicKey]
) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    rebuild(folder, keys["ada"])
    rebuild(folder, keys["bob"])

    assert counted(folder, trusted) == (["ada", "bob"], [])
    assert {path: path.read_bytes() for path in before} == before
    assert {one.name for one in release.verify(folder, trusted).signers} == {"team", "ada", "bob"}


def test_it_is_a_verification_summary_of_slsa(folder: Path, keys: dict[str, Key]) -> None:
    place = rebuild(folder, keys["ada"])

    payload = bundle.parse(place.read_bytes(), where="vsa").payload
    assert json.loads(payload)["predicateType"] == "https://slsa.dev/verification_summary/v1"
    predicate = json.loads(payload)["predicate"]
    assert predicate["verificationResult"] == "PASSED"
    assert predicate["verifiedLevels"] == ["SLSA_BUILD_REPRODUCED"]
    assert predicate["resourceUri"].startswith("pkg:pypi/tinyapp@1.2.4")
    own = f"attestations/{keys['ada'].public.folder}/provenance.sigstore.json"
    assert [one["uri"] for one in predicate["inputAttestations"]] == ["provenance.json", own]


def test_attesting_again_gives_the_same_bytes(folder: Path, keys: dict[str, Key]) -> None:
    assert rebuild(folder, keys["ada"]).read_bytes() == rebuild(folder, keys["ada"]).read_bytes()


def test_the_releaser_does_not_count(folder: Path, keys: dict[str, Key], trusted: list[PublicKey]) -> None:
    place = rebuild(folder, keys["team"])

    where = str(place.relative_to(folder))
    assert counted(folder, trusted) == ([], [(where, "is by team, whose key signed the release itself")])


def test_a_key_that_is_not_trusted_does_not_count(folder: Path, keys: dict[str, Key], trusted: list[PublicKey]) -> None:
    rebuild(folder, keys["ada"])
    place = rebuild(folder, keys["stranger"])

    names, refused = counted(folder, trusted)
    assert names == ["ada"]
    keyid = keys["stranger"].public.keyid
    assert refused == [(str(place.relative_to(folder)), f"is by a key that is not trusted: {keyid}")]


def test_one_key_in_two_folders_counts_once(folder: Path, keys: dict[str, Key], trusted: list[PublicKey]) -> None:
    place = rebuild(folder, keys["ada"]).parent
    shutil.copytree(place, place.with_name("zed-00000000"))

    assert counted(folder, trusted) == (
        ["ada"],
        [("attestations/zed-00000000/vsa.sigstore.json", "is by ada again: a key counts once")],
    )


def test_one_key_under_two_names_counts_once(folder: Path, keys: dict[str, Key], trusted: list[PublicKey]) -> None:
    rebuild(folder, keys["ada"])
    alias = PublicKey(spki=keys["ada"].public.spki, name="alias")

    assert counted(folder, [*trusted, alias])[0] == ["ada"]


@pytest.mark.parametrize("byte", [b'"sig":"', b'"payload":"'])
def test_a_changed_bundle_does_not_count(
    byte: bytes, folder: Path, keys: dict[str, Key], trusted: list[PublicKey]
) -> None:
    place = rebuild(folder, keys["ada"])
    data = place.read_bytes()
    at = data.index(byte) + len(byte) + 20
    place.write_bytes(data[:at] + (b"A" if data[at : at + 1] != b"A" else b"B") + data[at + 1 :])

    names, refused = counted(folder, trusted)
    assert names == []
    assert [where for where, _ in refused] == [str(place.relative_to(folder))]
    assert refused[0][1] == "is not as ada signed it"


def test_no_bundle_at_all_does_not_count(folder: Path, keys: dict[str, Key], trusted: list[PublicKey]) -> None:
    place = rebuild(folder, keys["ada"])
    place.write_bytes(b"{}")

    names, refused = counted(folder, trusted)
    assert (names, len(refused)) == ([], 1)


def test_a_rebuild_of_other_bytes_does_not_count(
    folder: Path, keys: dict[str, Key], trusted: list[PublicKey], tmp_path: Path
) -> None:
    """The key is trusted and the signature right, but it is about another digest."""
    place = rebuild(folder, keys["ada"])
    said = statement.read(
        bundle.parse(place.read_bytes(), where="vsa").payload, where="vsa", predicate_type=statement.SUMMARY
    )
    first = next(iter(said.subjects))
    other = {**said.subjects, first: small_release.digest("other bytes")}
    payload = statement.make(statement.SUMMARY, other, said.predicate.value)
    place.write_bytes(bundle.write(dsse.sign(keys["ada"], payload)))

    assert counted(folder, trusted) == ([], [(str(place.relative_to(folder)), "is about other artifacts")])


@pytest.mark.parametrize(
    "change",
    [
        {"verificationResult": "FAILED"},
        {"verifiedLevels": ["SLSA_BUILD_LEVEL_3"]},
        {"inputAttestations": []},
        {"policy": {"uri": "urn:example:anything-goes"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_statement_that_says_something_else_does_not_count(
    change: dict[str, object], folder: Path, keys: dict[str, Key], trusted: list[PublicKey]
) -> None:
    place = rebuild(folder, keys["ada"])
    said = statement.read(
        bundle.parse(place.read_bytes(), where="vsa").payload, where="vsa", predicate_type=statement.SUMMARY
    )
    payload = statement.make(statement.SUMMARY, said.subjects, {**said.predicate.value, **change})
    place.write_bytes(bundle.write(dsse.sign(keys["ada"], payload)))

    names, refused = counted(folder, trusted)
    assert names == []
    assert refused[0][1] == "does not say that this release was built again with the same result"


def test_the_summary_of_one_key_in_the_folder_of_another_does_not_count(
    folder: Path, keys: dict[str, Key], trusted: list[PublicKey]
) -> None:
    """Whoever signs a summary has to sign the provenance of their own build, too."""
    place = rebuild(folder, keys["ada"])
    payload = bundle.parse(place.read_bytes(), where="vsa").payload
    place.write_bytes(bundle.write(dsse.sign(keys["bob"], payload)))

    names, refused = counted(folder, trusted)
    assert names == []
    assert len(refused) == 1
