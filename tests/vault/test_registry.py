"""A vault in a registry: what is sent, and what any other client sees."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from buildonce.errors import ReleaseError
from buildonce.registry import Repository
from buildonce.system import files
from buildonce.system.console import SilentProgress
from buildonce.system.net import Net
from buildonce.vault import DeniedError
from buildonce.vault.registry import ARTIFACT_TYPE, RegistryVault
from tests import registries
from tests.vault.making import TEXTS, contents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.registries import Running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with registries.running(tmp_path / "registry") as found:
        yield found


@pytest.fixture
def net() -> Iterator[Net]:
    made = Net(patience=2, pause=0.01, timeout=10)
    yield made
    made.close()


def writes(server: Running, since: int = 0) -> list[str]:
    return [one.split("?")[0].rsplit("/", 1)[0] for one in server.requests[since:] if one.startswith("PUT ")]


def test_only_what_is_missing_is_sent_and_the_manifest_last(server: Running, net: Net, tmp_path: Path) -> None:
    vault = RegistryVault(Repository.parse(server.repository()), net)
    found = contents(tmp_path / "inputs")
    first = vault.keep(found, SilentProgress(), thorough=False)
    assert (first.files, first.added, first.added_bytes) == (3, 3, found.size)
    assert writes(server) == [*["PUT /v2/team/vault/blobs/uploads"] * 5, "PUT /v2/team/vault/manifests"]
    sent = len(server.requests)
    assert vault.keep(found, SilentProgress(), thorough=False).added == 0
    assert writes(server, sent) == []
    more = contents(tmp_path / "inputs", {**TEXTS, "new.whl": b"new"})
    sent = len(server.requests)
    assert vault.keep(more, SilentProgress(), thorough=False).added == 1
    assert writes(server, sent) == [*["PUT /v2/team/vault/blobs/uploads"] * 2, "PUT /v2/team/vault/manifests"]


def test_it_is_an_artifact_that_other_clients_understand(server: Running, net: Net, tmp_path: Path) -> None:
    found = contents(tmp_path / "inputs")
    RegistryVault(Repository.parse(server.repository()), net).keep(found, SilentProgress(), thorough=False)
    reference = f"docker://{server.host}/team/vault:inputs-{found.digest}"
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", reference], check=True, capture_output=True
    ).stdout
    manifest = json.loads(raw)
    assert manifest["artifactType"] == ARTIFACT_TYPE
    titles = {row["annotations"]["org.opencontainers.image.title"]: row["digest"] for row in manifest["layers"]}
    listing = {"inputs.json": found.listing}
    assert titles == {name: f"sha256:{files.sha256_bytes(data)}" for name, data in {**TEXTS, **listing}.items()}


def test_the_manifest_keeps_all_from_the_garbage_collection(server: Running, net: Net, tmp_path: Path) -> None:
    """Registries delete blobs that no tagged manifest refers to."""
    found = contents(tmp_path / "inputs")
    vault = RegistryVault(Repository.parse(server.repository()), net)
    vault.keep(found, SilentProgress(), thorough=False)
    other = contents(tmp_path / "inputs", {"base.tar": b"another base image for the same lock"})
    vault.keep(other, SilentProgress(), thorough=False)
    collect = ["docker-registry", "garbage-collect", "--delete-untagged", str(server.folder / "config.yml")]
    subprocess.run(collect, check=True, capture_output=True)
    left = {path.parent.name for path in server.blobs}
    assert left >= {one.sha256 for one in (*found.inputs, *other.inputs)}


def test_a_push_that_broke_goes_on(server: Running, net: Net, tmp_path: Path) -> None:
    """The line is down for good in the middle; the next run sends only the rest."""
    found = contents(
        tmp_path / "inputs",
        {f"{number}.whl": bytes([number]) * (100 if number < 6 else 900_000) for number in range(12)},
    )
    with registries.line(server.host) as line:
        vault = RegistryVault(Repository.parse(f"oci://{line.host}/team/vault"), net)
        line.breaks += [500_000, *[0] * 1000]
        with pytest.raises(ReleaseError, match="the network was cut"):
            vault.keep(found, SilentProgress(), thorough=False)
    direct = RegistryVault(Repository.parse(server.repository()), net)
    assert direct.listing(found.digest) is None, "the manifest comes last"
    there = {path.parent.name for path in server.blobs} & {one.sha256 for one in found.inputs}
    kept = direct.keep(found, SilentProgress(), thorough=False)
    assert kept.added == 12 - len(there)
    assert direct.listing(found.digest) == found.listing


def test_who_may_not_push(net: Net, tmp_path: Path) -> None:
    with registries.running(tmp_path / "shut", basic=True) as shut:
        vault = RegistryVault(Repository.parse(shut.repository()), net)
        with pytest.raises(DeniedError, match="cannot be written by this user") as caught:
            vault.keep(contents(tmp_path / "inputs"), SilentProgress(), thorough=False)
        assert "docker login" in caught.value.problems[0].hint
        with pytest.raises(DeniedError, match="cannot be read by this user"):
            vault.listing(files.sha256_bytes(b"lock"))
