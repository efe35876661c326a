"""Signatures on images: only of a trusted key, of this very manifest, of the right kind."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from buildonce.signing import dsse, images
from buildonce.system import canonical, files
from tests import small_release

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.signing import Key

DIGEST, OTHER = files.sha256_bytes(b"manifest"), files.sha256_bytes(b"another")
NAME = "registry.example.org/team/app:1.0"


def test_a_payload_says_what_the_image_is_called(key: Key) -> None:
    data = images.payload(NAME, DIGEST)
    assert images.named(data, images.sign(key, data), DIGEST, [key.public]) == NAME
    assert images.sign(key, data) == images.sign(key, data)


def test_a_payload_has_the_keys_that_readers_allow() -> None:
    assert json.loads(images.payload(NAME, DIGEST)) == {
        "critical": {
            "identity": {"docker-reference": NAME},
            "image": {"docker-manifest-digest": f"sha256:{DIGEST}"},
            "type": "cosign container image signature",
        },
        "optional": None,
    }


def test_a_payload_of_another_image_is_none_of_this_one(key: Key) -> None:
    data = images.payload(NAME, OTHER)
    assert images.named(data, images.sign(key, data), DIGEST, [key.public]) is None


def test_a_payload_of_another_kind_is_none(key: Key) -> None:
    data = images.payload(NAME, DIGEST).replace(b"cosign container", b"another")
    assert images.named(data, images.sign(key, data), DIGEST, [key.public]) is None


@pytest.mark.parametrize("signature", ["", "no base64!", base64.b64encode(b"0").decode()])
def test_a_payload_without_a_signature(key: Key, signature: str) -> None:
    assert images.named(images.payload(NAME, DIGEST), signature, DIGEST, [key.public]) is None


def test_a_payload_by_somebody_else(key: Key, tmp_path: Path) -> None:
    data = images.payload(NAME, DIGEST)
    assert images.named(data, images.sign(small_release.key(tmp_path), data), DIGEST, [key.public]) is None


def test_a_statement_has_its_type(key: Key) -> None:
    data = images.state(key, DIGEST, images.SIGNED, {})
    assert images.stated(data, DIGEST, [key.public]) == (images.SIGNED, {})
    assert images.stated(data, OTHER, [key.public]) is None
    assert data == images.state(key, DIGEST, images.SIGNED, {})


def test_a_statement_by_somebody_else(key: Key, tmp_path: Path) -> None:
    data = images.state(small_release.key(tmp_path), DIGEST, images.SIGNED, {})
    assert images.stated(data, DIGEST, [key.public]) is None


def test_a_statement_that_cosign_wrote(key: Key) -> None:
    """It names the image, leaves keyid away, and spells its JSON in another way."""
    statement = {
        "predicateType": images.SIGNED,
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": NAME, "digest": {"sha256": DIGEST}}],
        "predicate": {},
    }
    payload = json.dumps(statement, indent=2).encode()
    signature = base64.b64encode(key.sign(dsse.preauthentication(payload))).decode()
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": dsse.IN_TOTO,
        "signatures": [{"sig": signature}],
    }
    data = json.dumps({"mediaType": "bundle", "verificationMaterial": {}, "dsseEnvelope": envelope}).encode()
    assert images.stated(data, DIGEST, [key.public]) == (images.SIGNED, {})


def _changed(data: bytes, **changes: Any) -> bytes:
    bundle = json.loads(data)
    bundle["dsseEnvelope"] |= changes
    return canonical.dump(bundle)


@pytest.mark.parametrize(
    "changes",
    [
        {"payload": base64.b64encode(b"{}").decode()},
        {"payload": "no base64!"},
        {"payloadType": "text/plain"},
        {"signatures": []},
        {"signatures": [{"sig": "no base64!"}]},
        {"signatures": [{}]},
        {"signatures": "none"},
    ],
)
def test_what_was_changed_says_nothing(key: Key, changes: dict[str, Any]) -> None:
    data = images.state(key, DIGEST, images.SIGNED, {})
    assert images.stated(_changed(data, **changes), DIGEST, [key.public]) is None


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"dsseEnvelope": 1}'])
def test_what_is_no_bundle_says_nothing(key: Key, data: bytes) -> None:
    assert images.stated(data, DIGEST, [key.public]) is None
