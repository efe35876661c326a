"""Every form of signature: accepts its own, refuses another key, other bytes, and every flipped bit."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from buildonce.errors import ReleaseError, VerificationError
from buildonce.signing import PublicKey, bundle, dsse, openpgp, raw, sshsig, sums
from buildonce.system import canonical, files
from tests import small_release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from buildonce.signing import Key

DATA = b"the bytes that are signed\n"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return small_release.key(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return small_release.key(tmp_path_factory.mktemp("keys"), "stranger")


def _sign_bundle(key: Key, data: bytes) -> bytes:
    return bundle.write(dsse.sign(key, data))


def _verify_bundle(text: bytes, data: bytes, public: PublicKey) -> None:
    envelope = bundle.parse(text, where="x.sigstore.json")
    if envelope.payload != data or envelope.keyid != public.keyid or not envelope.is_by(public):
        raise VerificationError("not this key's statement")


FORMS: dict[str, tuple[Callable[[Key, bytes], bytes], Callable[[bytes, bytes, PublicKey], object]]] = {
    "raw": (raw.sign, raw.verify),
    "sshsig": (sshsig.sign, sshsig.verify),
    "openpgp": (lambda key, data: openpgp.sign(key, data, time=small_release.EPOCH), openpgp.read),
    "bundle": (_sign_bundle, _verify_bundle),
}
forms = pytest.mark.parametrize("form", FORMS)


def flips(data: bytes) -> Iterator[bytes]:
    """*data* with one bit changed, for every bit."""
    for place in range(len(data)):
        for bit in range(8):
            yield data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


@forms
def test_a_signature_verifies_and_is_the_same_every_time(form: str, key: Key) -> None:
    sign, verify = FORMS[form]

    assert sign(key, DATA) == sign(key, DATA)
    verify(sign(key, DATA), DATA, key.public)


@forms
def test_another_key_is_refused(form: str, key: Key, stranger: Key) -> None:
    sign, verify = FORMS[form]

    with pytest.raises(VerificationError):
        verify(sign(stranger, DATA), DATA, key.public)


@forms
def test_every_flipped_bit_of_a_signature_is_refused(form: str, key: Key) -> None:
    sign, verify = FORMS[form]
    signature = sign(key, DATA)

    for changed in flips(signature):
        with pytest.raises(VerificationError):
            verify(changed, DATA, key.public)


@forms
def test_every_flipped_bit_of_what_is_signed_is_refused(form: str, key: Key) -> None:
    sign, verify = FORMS[form]
    signature = sign(key, DATA)

    for changed in flips(DATA):
        with pytest.raises(VerificationError):
            verify(signature, changed, key.public)


@forms
def test_a_signature_cut_short_or_with_more_behind_it_is_refused(form: str, key: Key) -> None:
    sign, verify = FORMS[form]
    signature = sign(key, DATA)

    for changed in (
        *(signature[:end] for end in range(len(signature))),
        signature + b"\n",
        signature + signature,
    ):
        with pytest.raises(VerificationError):
            verify(changed, DATA, key.public)


@forms
@given(noise=st.binary(max_size=400))
def test_noise_is_refused_and_nothing_else_is_raised(form: str, noise: bytes, key: Key) -> None:
    with pytest.raises(VerificationError):
        FORMS[form][1](noise, DATA, key.public)


@forms
@given(data=st.data())
def test_a_spliced_signature_is_refused_and_nothing_else_is_raised(form: str, data: st.DataObject, key: Key) -> None:
    sign, verify = FORMS[form]
    signature = sign(key, DATA)
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(signature))] * 2)))
    changed = signature[:start] + data.draw(st.binary(max_size=60)) + signature[end:]

    if changed != signature:
        with pytest.raises(VerificationError):
            verify(changed, DATA, key.public)


@given(noise=st.binary(max_size=200) | st.binary(max_size=100).map(lambda b: b"-----BEGIN PUBLIC KEY-----\n" + b))
def test_a_public_key_of_noise_is_refused_and_nothing_else_is_raised(noise: bytes) -> None:
    with pytest.raises(ReleaseError):
        PublicKey.parse(noise, name="noise")


def test_the_other_half_of_an_ecdsa_signature_changes_nothing_signed(key: Key) -> None:
    """(r, n - s) verifies too, by the mathematics: another file that says the same. See signatures.md."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    r, s = decode_dss_signature(raw.sign(key, DATA))

    raw.verify(encode_dss_signature(r, order - s), DATA, key.public)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mediaType": "application/vnd.dev.sigstore.bundle.v0.2+json"}, "mediaType"),
        ({"more": 1}, "more is unknown"),
        ({"verificationMaterial": {"publicKey": {"hint": "SHA256:other"}, "tlogEntries": []}}, "another"),
        ({"verificationMaterial": {"publicKey": {"hint": "K"}, "tlogEntries": [{}]}}, "has to be empty"),
    ],
)
def test_a_bundle_says_what_is_wrong_with_it(key: Key, change: dict[str, object], message: str) -> None:
    value = {**json.loads(_sign_bundle(key, DATA)), **change}
    with pytest.raises(VerificationError, match=message) as caught:
        bundle.parse(canonical.dump(value), where="x.sigstore.json")

    assert caught.value.problems[0].where == "x.sigstore.json"


def test_two_signatures_in_one_bundle_are_refused(key: Key) -> None:
    value = json.loads(_sign_bundle(key, DATA))
    value["dsseEnvelope"]["signatures"] *= 2

    with pytest.raises(VerificationError, match="exactly one signature"):
        bundle.parse(canonical.dump(value), where="x.sigstore.json")


def test_an_openpgp_signature_is_never_older_than_its_key(key: Key) -> None:
    text = openpgp.sign(key, DATA, time=0)

    assert openpgp.read(text, DATA, key.public).time == openpgp.CREATED


@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+~!=@-]{0,40}", fullmatch=True), st.binary()))
def test_sums_are_read_as_they_are_written(contents: dict[str, bytes]) -> None:
    digests = {name: files.sha256_bytes(data) for name, data in contents.items()}
    text = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()

    assert sums.read(text) == digests


ZERO = "0" * 64


@pytest.mark.parametrize(
    "text",
    [
        f"{ZERO} *a\n",
        f"{ZERO}  ../a\n",
        f"{ZERO}  a",
        f"{ZERO}  a\r\n",
        f"{ZERO}  b\n{ZERO}  a\n",
        f"{ZERO}  a\n{ZERO}  a\n",
        f"\\{ZERO}  a\\n\n",
        f"{ZERO.replace('0', 'A')}  a\n",
        f"{ZERO}  a\n\n",
        f"{ZERO}  -a\n",
        f"{ZERO}  \x1b[31ma\n",
    ],
)
def test_sums_in_another_spelling_are_refused(text: str) -> None:
    with pytest.raises(VerificationError):
        sums.read(text.encode())


@given(st.binary(max_size=200))
def test_sums_of_noise_raise_nothing_else(noise: bytes) -> None:
    try:
        sums.read(noise)
    except VerificationError:
        return
    assert noise == b""


def test_sums_are_for_the_files_of_the_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"")
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "log").mkdir()
    (tmp_path / "SHA256SUMS.sig").write_bytes(b"")

    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sums.sums(tmp_path) == f"{empty}  a\n{empty}  b\n".encode()


TEXT = b"Origin: team\nSHA256:\n 00 1 main/Packages\n"


def test_a_text_with_its_signature_is_what_gpgv_reads(key: Key, tmp_path: Path) -> None:
    (tmp_path / "InRelease").write_bytes(openpgp.cleartext(key, TEXT, time=small_release.EPOCH))
    (tmp_path / "key.gpg").write_bytes(openpgp.certificate(key))
    command = ["gpgv", "--keyring", str(tmp_path / "key.gpg"), "--output", "-", str(tmp_path / "InRelease")]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, TEXT), done.stderr
    assert openpgp.read_cleartext((tmp_path / "InRelease").read_bytes(), key.public) == TEXT


def test_every_changed_byte_of_a_text_with_its_signature_is_noticed(key: Key) -> None:
    message = openpgp.cleartext(key, TEXT, time=small_release.EPOCH)
    for at in range(len(message)):
        changed = message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :]
        with pytest.raises(VerificationError):
            openpgp.read_cleartext(changed, key.public)


@pytest.mark.parametrize("text", [b"no end", b"space \n", b"-dash\n", b"return\r\n"])
def test_a_text_that_would_be_read_otherwise_is_not_signed(key: Key, text: bytes) -> None:
    with pytest.raises(ValueError, match="read otherwise"):
        openpgp.cleartext(key, text, time=small_release.EPOCH)
