"""The recipe "docker": two units of one image, and what the script that changes colours is told."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from buildonce.errors import ReleaseError
from buildonce.recipes import docker
from tests.recipes.subjects import EVERYTHING, PLAIN, subject

if TYPE_CHECKING:
    from pathlib import Path


def test_the_image_is_named_by_its_digests_alone(tmp_path: Path) -> None:
    one = subject(tmp_path)
    said = json.loads(docker.render(one)["switch.json"])
    image = one.image()
    assert said["images"] == [image.config, image.digest]
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", image.config)
    assert image.config != image.digest
    assert said["version"] == "1.4.0+b"


@pytest.mark.parametrize(("port", "ports"), [(8000, (8001, 8002)), (65535, (65533, 65534))])
def test_colours_have_ports_of_their_own(tmp_path: Path, port: int, ports: tuple[int, int]) -> None:
    found = docker.render(subject(tmp_path, {**PLAIN, "port": port}))
    assert tuple(json.loads(found["switch.json"])["ports"].values()) == ports
    assert f"server blue 127.0.0.1:{ports[0]}" in found["haproxy.cfg"]
    assert f"bind :{port}" in found["haproxy.cfg"]


def test_a_migration_is_a_unit_that_runs_once(tmp_path: Path) -> None:
    found = docker.render(subject(tmp_path, EVERYTHING))
    unit = found["orders-migrate@.service"]
    assert "Type=oneshot" in unit
    assert "--entrypoint /opt/venvs/orders/bin/orders-admin \\\n  ${IMAGE} migrate --all\n" in unit
    assert "--publish" not in unit
    assert "[Install]" not in unit
    # systemd runs ExecStop= of a oneshot when it is done: the container is gone then, which is no failure
    assert "ExecStop=-/" in unit
    assert json.loads(found["switch.json"])["migrate"]
    plain = docker.render(subject(tmp_path, PLAIN))
    assert "orders-migrate@.service" not in plain
    assert not json.loads(plain["switch.json"])["migrate"]


def test_the_image_of_the_wanted_target(tmp_path: Path) -> None:
    on = ["debian-12", "debian-13"]
    with pytest.raises(ReleaseError, match="images for debian-12, debian-13") as caught:
        docker.render(subject(tmp_path, on=on))
    assert "--target debian-12" in caught.value.problems[0].hint
    said = json.loads(docker.render(subject(tmp_path, on=on, target="debian-13"))["switch.json"])
    assert said["file"] == "orders-1.4.0+b-debian-13.oci.tar"
    with pytest.raises(ReleaseError, match="no image for debian-11"):
        docker.render(subject(tmp_path, target="debian-11"))
    with pytest.raises(ReleaseError, match=r"has no image$"):
        docker.render(subject(tmp_path, kinds=["pex"]))
