"""The client against a real registry: nothing is sent twice, what breaks goes on, what is wrong is refused."""

from __future__ import annotations

import json
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

from buildonce.errors import ConfigurationError, ReleaseError
from buildonce.model import Digest
from buildonce.registry import Registry, Repository, client, uploading
from buildonce.registry.client import MANIFEST_TYPE
from buildonce.system import canonical, files
from buildonce.system.net import Interrupted, RefusedError
from tests import ports, registries
from tests.system.server import serving

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from buildonce.system.net import Answer, Net
    from tests.registries import Running

BIG = random.Random(2).randbytes(9_000_001)


@pytest.fixture
def registry(server: Running, net: Net, request: pytest.FixtureRequest) -> Registry:
    """A repository of the test's own."""
    return Registry(Repository.parse(server.repository(f"team/{request.node.name.lower().partition('[')[0]}")), net)


def blob(folder: Path, data: bytes) -> tuple[Path, Digest]:
    path = folder / "blob"
    path.write_bytes(data)
    return path, files.sha256_bytes(data)


def read(registry: Registry, digest: Digest, part: Path) -> bytes | None:
    part.touch()
    return part.read_bytes() if registry.read_blob(digest, part) else None


def manifest(registry: Registry, digest: Digest, size: int) -> bytes:
    layer = client.Descriptor(media_type="application/octet-stream", digest=digest, size=size, title="a.whl")
    config = registry.push_bytes(client.EMPTY, "application/vnd.oci.empty.v1+json")
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": "application/vnd.example",
        "config": config.json(),
        "layers": [layer.json()],
    }
    return canonical.dump(document)


@pytest.mark.parametrize("data", [b"", b"x", BIG], ids=["empty", "one", "big"])
def test_a_blob_goes_there_and_back(registry: Registry, tmp_path: Path, data: bytes) -> None:
    path, digest = blob(tmp_path, data)
    assert not registry.has_blob(digest)
    assert read(registry, digest, tmp_path / "part") is None
    came: list[int] = []
    assert registry.push_blob(path, digest, came=came.append) is True
    assert came[-1:] == ([len(data)] if data else [])
    assert registry.has_blob(digest)
    assert read(registry, digest, tmp_path / "part") == data
    assert registry.push_blob(path, digest) is False


def test_a_manifest_is_stored_byte_by_byte(registry: Registry, tmp_path: Path) -> None:
    path, digest = blob(tmp_path, b"wheel")
    registry.push_blob(path, digest)
    data = manifest(registry, digest, 5)
    assert registry.manifest("v1") is None
    assert registry.push_manifest(data, "v1") == files.sha256_bytes(data)
    assert registry.manifest("v1") == data
    assert registry.manifest(f"sha256:{files.sha256_bytes(data)}") == data
    assert registry.push_manifest(data, "v1") == files.sha256_bytes(data)


def test_a_manifest_whose_blobs_are_missing_is_refused(registry: Registry) -> None:
    data = manifest(registry, files.sha256_bytes(b"never sent"), 10)
    with pytest.raises(RefusedError, match="MANIFEST_BLOB_UNKNOWN") as caught:
        registry.push_manifest(data, "v1")
    assert caught.value.problems[0].where == str(registry.repository)
    assert registry.manifest("v1") is None


def test_other_bytes_than_those_of_the_digest_are_refused(registry: Registry, tmp_path: Path) -> None:
    path, _ = blob(tmp_path, b"evil")
    with pytest.raises(RefusedError, match="DIGEST_INVALID"):
        registry.push_blob(path, files.sha256_bytes(b"good"))
    assert not registry.has_blob(files.sha256_bytes(b"good"))


@pytest.mark.parametrize("breaks", [[3_000_000], [3_000_000, 6_000_000, 500_000]], ids=["once", "often"])
def test_an_upload_survives_a_line_that_breaks(server: Running, net: Net, tmp_path: Path, breaks: list[int]) -> None:
    path, digest = blob(tmp_path, BIG + bytes([len(breaks)]))
    with registries.line(server.host) as line:
        registry = Registry(Repository.parse(f"oci://{line.host}/team/broken{len(breaks)}"), net)
        assert not registry.has_blob(digest)
        line.breaks += breaks
        wanted = len(breaks)
        assert registry.push_blob(path, digest) is True
        assert line.broken == wanted
        assert read(registry, digest, tmp_path / "part") == path.read_bytes()
    sent = [one for one in server.requests if f"/team/broken{len(breaks)}/" in one]
    assert any(one.startswith("PATCH ") for one in sent)


def test_an_upload_goes_on_behind_the_last_whole_chunk(
    registry: Registry, net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost are the one piece and the second chunk, before a byte of them came: the registry says where it is."""
    path, digest = blob(tmp_path, BIG + b"chunk")
    sent: list[str] = []
    real = net.ask

    def ask(method: str, url: str, *, headers: Mapping[str, str], **rest: Any) -> Answer:
        if method in ("PUT", "PATCH") and headers.get("Content-Length") != "0":
            sent.append(headers.get("Content-Range", "all"))
            if len(sent) in (1, 3):
                raise ReleaseError("the network was cut")
        return real(method, url, headers=headers, **rest)

    monkeypatch.setattr(net, "ask", ask)
    assert registry.push_blob(path, digest) is True
    assert sent == ["all", "0-4194303", "4194304-8388607", "4194304-8388607", "8388608-9000005"]
    assert read(registry, digest, tmp_path / "part") == path.read_bytes()


def test_a_download_goes_on_where_the_line_broke(server: Running, net: Net, tmp_path: Path) -> None:
    path, digest = blob(tmp_path, BIG + b"down")
    with registries.line(server.host) as line:
        registry = Registry(Repository.parse(f"oci://{line.host}/team/down"), net)
        registry.push_blob(path, digest)
        line.breaks += [4_000_000]
        assert read(registry, digest, tmp_path / "part") == path.read_bytes()
        assert line.broken == 1


def test_a_line_that_is_down(server: Running, net: Net, tmp_path: Path) -> None:
    path, digest = blob(tmp_path, b"wheel")
    registry = Registry(Repository.parse(f"oci://127.0.0.1:{ports.free()}/team/vault"), net)
    with pytest.raises(ReleaseError, match="the network was cut"):
        registry.push_blob(path, digest)


def test_who_is_told_to_stop_sends_no_more(server: Running, net: Net, tmp_path: Path) -> None:
    path, digest = blob(tmp_path, BIG + b"stop")
    stop = threading.Event()
    registry = Registry(Repository.parse(server.repository("team/stop")), net, stop=stop)

    def came(count: int) -> None:
        if count > 1_000_000:
            stop.set()

    with pytest.raises(Interrupted):
        registry.push_blob(path, digest, came=came)
    assert not Registry(registry.repository, net).has_blob(digest)


def test_a_corrupt_small_blob_is_refused(server: Running, registry: Registry) -> None:
    data = b'{"small": "blob"}'
    found = registry.push_bytes(data, "application/json")
    assert registry.read_small(found.digest) == data
    assert registry.read_small(Digest("0" * 64)) is None
    server.blob(found.digest).write_bytes(b'{"small": "evil"}')
    with pytest.raises(ReleaseError, match="has other bytes"):
        registry.read_small(found.digest)


def test_a_server_that_is_no_registry(net: Net) -> None:
    with serving() as other:
        registry = Registry(Repository.parse(f"oci://{other.url('')[7:]}/team/vault"), net)
        assert registry.manifest("v1") is None
        with pytest.raises(RefusedError, match="beginning an upload: the registry says 501"):
            registry.push_bytes(b"{}", "application/json")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("oci://registry.example.org/a/b", "https://registry.example.org/v2/a/b/x"),
        ("oci://registry.example.org:5000/a", "https://registry.example.org:5000/v2/a/x"),
        ("oci://localhost:5000/a", "http://localhost:5000/v2/a/x"),
        ("oci://[::1]:5000/a", "http://[::1]:5000/v2/a/x"),
        ("oci+http://nas.example.org/a", "http://nas.example.org/v2/a/x"),
    ],
)
def test_addresses(text: str, url: str) -> None:
    found = Repository.parse(text)
    assert found.url("x") == url
    assert str(found) == text


@pytest.mark.parametrize("text", ["oci://host", "oci://host/A", "oci://host/a:tag", "oci://u:p@host/a", "oci://h/../a"])
def test_what_is_no_repository(text: str) -> None:
    with pytest.raises(ConfigurationError, match="does not name a repository"):
        Repository.parse(text)


def test_how_an_upload_ends_keeps_the_query() -> None:
    assert uploading.finished("http://h/u?_state=a%3D", Digest("0")) == "http://h/u?_state=a%3D&digest=sha256%3A0"
    assert uploading.finished("http://h/u", Digest("0")) == "http://h/u?digest=sha256%3A0"


def test_a_descriptor_has_a_title_only_when_it_has_one() -> None:
    plain = client.Descriptor(media_type="t", digest=Digest("0"), size=1)
    assert json.loads(json.dumps(plain.json())) == {"mediaType": "t", "digest": "sha256:0", "size": 1}
