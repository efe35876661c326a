"""Base images that others made: pinned, checked, and carried on byte for byte."""

from __future__ import annotations

import dataclasses
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from buildonce import target as targets
from buildonce.errors import ConfigurationError, VerificationError
from buildonce.oci import foreign, layout
from buildonce.system import canonical, files
from buildonce.system.archive import Member
from tests.oci.test_filesystem import tar
from tests.oci.test_reading import Parts, parts_of, place, rewrite

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.system.store import Store

TARGET = targets.load("debian-12")
PYTHON = ("usr/bin/python3.11", {"data": b"\x7fELF", "mode": 0o755})


def make(path: Path, *, docker: bool = False, index: bool = False, python: bool = True) -> tuple[str, list[bytes]]:
    """An image as others write it: whiteouts, owners, JSON of any form. Answers its digest and its layers."""
    stack = [
        tar(
            ("./etc/", {"type": tarfile.DIRTYPE, "mode": 0o755}),
            ("./etc/old", {}),
            *([PYTHON] if python else []),
        ),
        tar(("etc/.wh.old", {}), ("var/mail/a", {"uid": 8, "gid": 8, "data": b"mail"})),
    ]
    parts: Parts = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}

    def put(media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
        digest = f"sha256:{files.sha256_bytes(data)}"
        parts[place(digest)] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    kinds = (
        "rootfs.diff.tar",
        "container.image.v1+json",
        "distribution.manifest.v2+json",
        "distribution.manifest.list.v2+json",
    )
    layer, config, manifest, listing = (
        [f"application/vnd.docker.{kinds[0].replace('rootfs', 'image.rootfs')}"]
        + [f"application/vnd.docker.{kind}" for kind in kinds[1:]]
        if docker
        else [layout.PLAIN_LAYER_TYPE, layout.CONFIG_TYPE, layout.MANIFEST_TYPE, layout.INDEX_TYPE]
    )
    facts = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/usr/bin", "FROM_BASE=1"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{files.sha256_bytes(one)}" for one in stack]},
        "history": [
            {"created_by": "ADD x"},
            {"created_by": "ENV y", "empty_layer": True},
            {"created_by": "RUN rm"},
        ],
    }
    body = {
        "schemaVersion": 2,
        "config": put(config, json.dumps(facts, indent=1).encode()),
        "layers": [put(layer, one) for one in stack],
    }
    described = put(manifest, json.dumps(body, indent=1).encode(), platform={"os": "linux", "architecture": "amd64"})
    if index:
        other = {**described, "platform": {"os": "linux", "architecture": "arm64"}}
        described = put(listing, json.dumps({"schemaVersion": 2, "manifests": [other, described]}).encode())
    parts["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [described]}).encode()
    path.write_bytes(tar(*((name, {"data": data}) for name, data in parts.items())))
    return described["digest"].removeprefix("sha256:"), stack


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("index", [False, True])
def test_a_pinned_base(tmp_path: Path, store: Store, docker: bool, index: bool) -> None:
    digest, stack = make(tmp_path / "base.tar", docker=docker, index=index)
    base = foreign.read(f"base.tar@sha256:{digest}", tmp_path, TARGET, store)
    assert base is not None
    assert base.digest == digest
    assert [layer.blob.read_bytes() for layer in base.layers] == stack
    assert {layer.media_type for layer in base.layers} == {layout.PLAIN_LAYER_TYPE}
    assert [layer.title for layer in base.layers] == ["ADD x", "RUN rm"]
    assert [entry.path for entry in base.entries] == ["usr/bin/python3.11", "var/mail/a"]
    assert base.environment == {"PATH": "/usr/bin", "FROM_BASE": "1"}


def test_without_a_digest_the_only_image_is_taken_and_its_digest_told(tmp_path: Path, store: Store) -> None:
    digest, _ = make(tmp_path / "base.tar")
    base = foreign.read("base.tar", tmp_path, TARGET, store)
    assert base is not None
    assert base.digest == digest


def test_none_is_asked_for(tmp_path: Path, store: Store) -> None:
    assert foreign.read("", tmp_path, TARGET, store) is None


def test_another_image_than_the_pinned_one(tmp_path: Path, store: Store) -> None:
    make(tmp_path / "base.tar")
    with pytest.raises(VerificationError, match="does not hold sha256:00"):
        foreign.read(f"base.tar@sha256:{'0' * 64}", tmp_path, TARGET, store)


def test_a_changed_layer(tmp_path: Path, store: Store) -> None:
    digest, stack = make(tmp_path / "base.tar")

    def change(parts: Parts) -> None:
        parts[place(files.sha256_bytes(stack[1]))] = tar(("etc/evil", {}))

    rewrite(tmp_path / "base.tar", change)
    with pytest.raises(VerificationError, match="has the digest"):
        foreign.read(f"base.tar@sha256:{digest}", tmp_path, TARGET, store)


def test_a_reference_to_a_registry_tells_how_to_bring_it_here(tmp_path: Path, store: Store) -> None:
    reference = f"example.org/python:3.11@sha256:{'a' * 64}"
    with pytest.raises(ConfigurationError, match="is not on this machine") as raised:
        foreign.read(reference, tmp_path, TARGET, store)
    assert f"skopeo copy docker://{reference} oci-archive:base.tar" in raised.value.problems[0].hint


def test_a_base_without_the_targets_interpreter(tmp_path: Path, store: Store) -> None:
    make(tmp_path / "base.tar", python=False)
    with pytest.raises(ConfigurationError, match=r"has no /usr/bin/python3\.11"):
        foreign.read("base.tar", tmp_path, TARGET, store)


def test_a_base_for_another_architecture(tmp_path: Path, store: Store) -> None:
    make(tmp_path / "base.tar", index=True)
    other = dataclasses.replace(TARGET, architecture="s390x")
    with pytest.raises(ConfigurationError, match="0 variants for linux/s390x"):
        foreign.read("base.tar", tmp_path, other, store)


def test_the_helper_of_these_tests_rewrites_archives(tmp_path: Path) -> None:
    make(tmp_path / "base.tar")
    rewrite(tmp_path / "base.tar", lambda parts: parts.update(x=canonical.dump({})))
    assert parts_of(tmp_path / "base.tar")["x"] == b"{}"
    assert Member(path="x").size == 0
