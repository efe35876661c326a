"""The recipe "compose": the document. Compose itself runs it in tests/integration/test_recipes.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from buildonce.recipes import compose
from tests.recipes.subjects import EVERYTHING, PLAIN, subject, with_image_of_its_own

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.recipes.subject import Subject

NEEDS = {
    "needs": {
        "db": {"type": "postgresql"},
        "mail": {"type": "command", "packages": ["x1"], "command": "x", "port": 25},
    },
    "environment": {"ORDERS_DATABASE": "{db.url}", "MAIL": "{mail.host}", "PRICE": "5$"},
}


def document(one: Subject) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(compose.render(one)["compose.yaml"])
    return found


def test_by_digest_from_the_registry_or_by_the_id_of_what_was_loaded(tmp_path: Path) -> None:
    one = subject(tmp_path)
    service = document(one)["services"]["orders"]
    assert service["image"] == f"registry.example.org/team/orders@{one.image().digest}"
    here = subject(tmp_path, publish={})
    service = document(here)["services"]["orders"]
    assert (service["image"], service["pull_policy"]) == (here.image().config, "never")
    assert "docker load --input" in compose.render(here)["README.md"]


def test_it_is_confined_and_only_this_host_reaches_it(tmp_path: Path) -> None:
    service = document(subject(tmp_path, PLAIN))["services"]["orders"]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["ports"] == ["${BIND:-127.0.0.1}:8000:8000"]
    assert service["healthcheck"]["test"][-1] == "http://127.0.0.1:8000/health"
    assert "depends_on" not in service


def test_everything(tmp_path: Path) -> None:
    found = document(with_image_of_its_own(subject(tmp_path, EVERYTHING)))
    service, migration = found["services"]["orders"], found["services"]["orders-migrate"]
    for one in (service, migration):
        assert (one["mem_limit"], one["cpus"], one["pids_limit"], one["init"]) == ("512m", 1.5, 128, True)
        assert one["secrets"] == ["db-url", "mail.key"]
        assert one["environment"]["CREDENTIALS_DIRECTORY"] == "/run/secrets"
        assert one["volumes"] == ["orders:/var/lib/orders", "orders-srv-files:/srv/files"]
    assert migration["entrypoint"] == ["/opt/venvs/orders/bin/orders-admin"]
    assert migration["command"] == ["migrate", "--all"]
    assert service["depends_on"] == {"orders-migrate": {"condition": "service_completed_successfully"}}
    assert found["secrets"]["mail.key"] == {"file": "credentials/mail.key"}
    assert set(found["volumes"]) == {"orders", "orders-srv-files"}


def test_a_database_comes_with_it(tmp_path: Path) -> None:
    one = subject(tmp_path, {**PLAIN, "migrate": "orders migrate"}, up=NEEDS)
    found = document(one)
    database, service = found["services"]["db"], found["services"]["orders"]
    password = "${DATABASE_PASSWORD:-only-for-development}"
    assert database["environment"] == {"POSTGRES_USER": "orders", "POSTGRES_PASSWORD": password}
    assert service["environment"] == {
        "ORDERS_DATABASE": f"postgresql://orders:{password}@db:5432/orders",
        "PRICE": "5$$",
    }
    assert found["services"]["orders-migrate"]["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert found["volumes"]["db"] == {}
    assert "no image of it: mail" in compose.render(one)["README.md"]
