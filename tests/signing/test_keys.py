"""Key files: what is written, what is refused."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from buildonce.errors import ReleaseError
from buildonce.signing import PublicKey, keys

if TYPE_CHECKING:
    from pathlib import Path

PUBLIC = ("team.pub", "team.ssh.pub", "team.allowed_signers", "team.asc", "team.gpg")


def never() -> bytes:
    raise AssertionError("the passphrase was asked for")


@pytest.fixture(autouse=True)
def _open_umask() -> object:
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_new_key_is_secret_and_its_public_files_lie_beside_it(tmp_path: Path) -> None:
    keys.new(tmp_path / "keys" / "team", b"secret")

    assert {path.name for path in (tmp_path / "keys").iterdir()} == {"team.key", *PUBLIC}
    assert stat.S_IMODE((tmp_path / "keys" / "team.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert all((tmp_path / "keys" / name).stat().st_mode & 0o777 == 0o644 for name in PUBLIC)


@pytest.mark.parametrize("passphrase", [b"secret", None, "gr\u00fc\u00df dich".encode()])
def test_a_key_opens_again_and_signs_the_same(tmp_path: Path, passphrase: bytes | None) -> None:
    made = keys.new(tmp_path / "team.key", passphrase)

    opened = keys.load(tmp_path / "team.key", never if passphrase is None else lambda: passphrase)

    assert opened.public == made.public == PublicKey.load(tmp_path / "team.pub")
    assert opened.protected is (passphrase is not None)
    assert opened.name == "team"
    assert opened.sign(b"data") == made.sign(b"data")  # RFC 6979: no random number in it
    assert made.public.check(opened.sign(b"data"), b"data")
    assert not made.public.check(opened.sign(b"data"), b"date")


def test_a_wrong_passphrase_is_told_and_ends_with_one(tmp_path: Path) -> None:
    keys.new(tmp_path / "team", b"secret")

    with pytest.raises(ReleaseError, match="passphrase is wrong") as caught:
        keys.load(tmp_path / "team.key", lambda: b"Secret")

    assert caught.value.exit_code == 1
    assert caught.value.problems[0].hint


@pytest.mark.parametrize("there", ["team.key", *PUBLIC])
def test_no_file_is_ever_overwritten(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")

    with pytest.raises(ReleaseError, match="never overwritten"):
        keys.new(tmp_path / "team", None)

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {there: "mine"}


@pytest.mark.parametrize("name", ["-team", "a b", "team\n", "..", "t\u00e9am", "a" * 65])
def test_a_name_that_breaks_a_line_or_a_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ReleaseError, match="not a name for a key"):
        keys.new(tmp_path / name, None)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "other",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-384", "Ed25519", "RSA"],
)
def test_another_kind_of_key_is_refused(
    tmp_path: Path, other: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
) -> None:
    secret, public = tmp_path / "other.key", tmp_path / "other.pub"
    secret.touch(0o600)
    secret.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    with pytest.raises(ReleaseError, match="ECDSA P-256"):
        keys.load(secret, never)
    with pytest.raises(ReleaseError, match="ECDSA P-256"):
        PublicKey.load(public)


def test_what_is_no_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.key").touch(0o600)
    (tmp_path / "a.key").write_text("hello")

    with pytest.raises(ReleaseError, match="not a private key"):
        keys.load(tmp_path / "a.key", never)
    with pytest.raises(ReleaseError, match="not a public key"):
        PublicKey.load(tmp_path / "a.key")
    with pytest.raises(ReleaseError, match="no such key"):
        keys.load(tmp_path / "b.key", never)
    with pytest.raises(ReleaseError, match="cannot be read"):
        PublicKey.load(tmp_path / "b.pub")


def test_a_damaged_protected_key_is_told(tmp_path: Path) -> None:
    keys.new(tmp_path / "team", b"secret")
    path = tmp_path / "team.key"
    pem = path.read_bytes()
    path.write_bytes(pem[:-60] + (b"A" if pem[-60:-59] != b"A" else b"B") + pem[-59:])

    with pytest.raises(ReleaseError, match="damaged"):
        keys.load(path, lambda: b"secret")


def test_an_unprotected_key_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    keys.new(tmp_path / "team", None)
    (tmp_path / "team.key").chmod(0o644)

    with pytest.raises(ReleaseError, match="everybody") as caught:
        keys.load(tmp_path / "team.key", never)

    assert caught.value.problems[0].hint == f"chmod 600 {tmp_path / 'team.key'}"


def test_the_workstation_key_is_made_once(tmp_path: Path) -> None:
    first, made = keys.workstation(tmp_path / "config" / "keys")
    again, made_again = keys.workstation(tmp_path / "config" / "keys")

    assert (made, made_again) == (True, False)
    assert first.public == again.public
    assert not first.protected
    assert stat.S_IMODE((tmp_path / "config" / "keys" / "workstation.key").stat().st_mode) == 0o600


def test_two_builds_at_once_agree_on_the_workstation_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: keys.workstation(tmp_path / "keys"), range(8)))

    assert len({key.public for key, _ in found}) == 1
    assert sum(made for _, made in found) == 1


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ReleaseError, match="cannot be written"):
        keys.workstation(tmp_path / "file" / "keys")


def test_one_key_in_two_spellings_is_one_key(tmp_path: Path) -> None:
    made = keys.new(tmp_path / "team", None)
    (tmp_path / "other.pub").write_bytes((tmp_path / "team.ssh.pub").read_bytes())

    found = PublicKey.load(tmp_path / "other.pub")

    assert found == made.public
    assert {found, made.public} == {made.public}
    assert found.name == "other"


def test_a_key_does_not_show_its_secret(tmp_path: Path) -> None:
    assert "signer" not in repr(keys.new(tmp_path / "team", None))
