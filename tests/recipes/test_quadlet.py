"""The recipe "quadlet": the keys that podman's generator gets. It runs in tests/integration/test_recipes.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buildonce.recipes import quadlet
from tests.recipes.subjects import EVERYTHING, PLAIN, subject, with_image_of_its_own

if TYPE_CHECKING:
    from pathlib import Path


def values(text: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


def test_the_container_is_confined_and_of_this_very_image(tmp_path: Path) -> None:
    one = subject(tmp_path)
    text = quadlet.render(one)["orders.container"]
    assert values(text, "Image") == [one.image().config]
    expected = {"Pull": "never", "ReadOnly": "true", "NoNewPrivileges": "true", "DropCapability": "all"}
    assert {key: values(text, key) for key in expected} == {key: [value] for key, value in expected.items()}
    assert values(text, "PodmanArgs") == ["--pids-limit=512"]
    assert values(text, "HealthCmd") == [
        "CMD /usr/bin/python3.11 -I -S /usr/lib/buildonce/health.py http://127.0.0.1:8000/health"
    ]
    assert values(text, "Requires") == values(text, "Secret") == []


def test_everything(tmp_path: Path) -> None:
    found = quadlet.render(with_image_of_its_own(subject(tmp_path, EVERYTHING)))
    text, migration = found["orders.container"], found["orders-migrate.container"]
    for one in (text, migration):
        assert values(one, "PodmanArgs")[-1] == "--pids-limit=128 --memory=512m --cpus=1.5 --init"
        assert values(one, "Secret")[0] == "orders-db-url,type=mount,target=db-url,uid=65532,gid=65532,mode=0400"
        assert values(one, "Volume") == ["orders.volume:/var/lib/orders", "orders-srv-files.volume:/srv/files"]
    assert values(text, "Requires") == ["orders-migrate.service"]
    assert (values(migration, "PodmanArgs")[0], values(migration, "Exec")) == (
        "--entrypoint=/opt/venvs/orders/bin/orders-admin",
        ["migrate --all"],
    )
    assert values(migration, "PublishPort") == []
    assert found["orders-srv-files.volume"] == "[Volume]\nVolumeName=orders-srv-files\n"
    assert "podman secret create orders-mail.key -" in found["README.md"]


def test_settings_are_written_as_podman_reads_them(tmp_path: Path) -> None:
    assert "#RATE=50% of $x\n" in quadlet.render(subject(tmp_path, EVERYTHING))["env"]
    assert "orders-migrate.container" not in quadlet.render(subject(tmp_path, PLAIN))
