"""orders keeps its orders in a real PostgreSQL, reached over a socket in a folder that both containers have."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.integration import carried, hosts, images
from tests.integration.conftest import QUIET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Built
    from tests.integration.hosts import Host

SOCKETS = "/run/postgresql"
WANTED = {"item": "a kettle", "quantity": 2}


@dataclass(frozen=True)
class Database:
    """A PostgreSQL with an empty database and a user that has to give a password."""

    host: Host
    sockets: str  # the volume
    url: str

    @property
    def shared(self) -> dict[str, dict[str, str]]:
        """The volume, for another container."""
        return {self.sockets: {"bind": SOCKETS, "mode": "rw"}}

    def sql(self, statement: str, database: str = "orders") -> str:
        """What psql prints, as PostgreSQL's own superuser."""
        return self.host.run("psql", "-qtAXc", statement, database, user="postgres").strip()


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Host, str]]:
    start = f"""
    install -d -m 2775 -o postgres -g postgres {SOCKETS}
    set -- $(pg_lsclusters --no-header)
    printf 'local all postgres peer\\nlocal all all scram-sha-256\\n' >"/etc/postgresql/$1/$2/pg_hba.conf"
    exec pg_ctlcluster "$1" "$2" start --foreground
    """
    with hosts.volume() as sockets:
        shared = {sockets: {"bind": SOCKETS, "mode": "rw"}}
        command = ["sh", "-euc", start]
        image = hosts.POSTGRESQL.tag()
        with hosts.running(image, command=command, init=True, volumes=shared) as host:
            hosts.until(lambda: host.succeeds("pg_isready", "-q"), told=host.told)
            yield host, sockets


@pytest.fixture
def database(server: tuple[Host, str]) -> Database:
    """A new and empty one."""
    host, sockets = server
    password = secrets.token_urlsafe()
    made = Database(host, sockets, f"postgresql+psycopg2://orders:{password}@/orders?host={SOCKETS}")
    for statement in (
        "DROP DATABASE IF EXISTS orders",
        "DROP ROLE IF EXISTS orders",
        f"CREATE ROLE orders LOGIN PASSWORD '{password}'",
        "CREATE DATABASE orders OWNER orders",
    ):
        made.sql(statement, "postgres")
    return made


def test_the_installed_service(database: Database, os_packages: Path, first: Built, tmp_path: Path) -> None:
    """By the deb: the unit migrates before it starts, and what was ordered is there after a restart."""
    with hosts.running(hosts.HOST.tag(), systemd=True, volumes=database.shared) as host:
        # An administrator's settings are there before the package, as a configuration management brings them.
        host.sh(f"mkdir /etc/orders; umask 077; echo 'ORDERS_DATABASE_URL={database.url}' >/etc/orders/env")
        carried.accept(host, os_packages)
        carried.accept(host, carried.index(tmp_path / "orders", [first.file("deb")]))
        keep = ("-o", "Dpkg::Options::=--force-confold")
        host.run("apt-get", "install", "-qq", *keep, "orders", environment=QUIET)
        told = lambda: host.run("journalctl", "-u", "orders")  # noqa: E731
        hosts.until(lambda: host.healthy(version=first.version, database="postgresql"), told=told)
        assert database.sql("SELECT tableowner FROM pg_tables WHERE tablename = 'orders'") == "orders"
        assert host.run("systemctl", "show", "--value", "-p", "ExecStartPre", "orders").count("status=0") == 1

        number = order(host)
        host.run("systemctl", "restart", "orders")
        hosts.until(lambda: host.healthy(version=first.version), told=told)
        assert host.ask("GET", f"/orders/{number}") == (200, {"id": number, **WANTED})
        assert database.sql("SELECT item, quantity FROM orders") == "a kettle|2"


def test_the_image(database: Database, first: Built) -> None:
    """By the image: once with the migration's command, then as a service, and another one after it."""
    settings = {"environment": {"ORDERS_DATABASE_URL": database.url}, "volumes": database.shared}
    with images.loaded(first) as image:
        with images.strictly(image, entrypoint=["orders"], command=["migrate"], **settings) as job:
            assert job.container.wait(timeout=60)["StatusCode"] == 0, job.told()

        with serving(image, first, **settings) as host:
            number = order(host)
        with serving(image, first, **settings) as host:
            assert host.ask("GET", f"/orders/{number}") == (200, {"id": number, **WANTED})
    assert database.sql("SELECT item, quantity FROM orders") == "a kettle|2"


def test_it_says_so_when_the_database_does_not_let_it_in(database: Database, first: Built) -> None:
    """No silent fallback: /health is 503, and 200 as soon as the database is there again."""
    settings = {"environment": {"ORDERS_DATABASE_URL": database.url}, "volumes": database.shared}
    database.sql("ALTER ROLE orders NOLOGIN")
    with images.loaded(first) as image, images.strictly(image, **settings) as host:
        hosts.until(lambda: host.ask("GET", "/health")[0] != 0, told=host.told)
        assert host.ask("GET", "/health")[0] == 503
        database.sql("ALTER ROLE orders LOGIN")
        hosts.until(lambda: host.healthy(version=first.version, database="postgresql"), told=host.told)


def order(host: Host) -> int:
    """The number of a new order."""
    status, placed = host.ask("POST", "/orders", WANTED)
    assert status == 201
    assert len(placed["receipt"]) == 64
    return int(placed["id"])


@contextlib.contextmanager
def serving(image: object, release: Built, **settings: object) -> Iterator[Host]:
    with images.strictly(image, **settings) as host:
        hosts.until(lambda: host.healthy(version=release.version, database="postgresql"), told=host.told)
        yield host
