"""A PostgreSQL that hosts reach over the network."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.integration import hosts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker.models.networks import Network

__all__ = ["Server", "running"]

START = """
set -- $(pg_lsclusters --no-header)
printf 'local all postgres peer\\nhost all all samenet scram-sha-256\\n' >"/etc/postgresql/$1/$2/pg_hba.conf"
printf "listen_addresses = '*'\\n" >"/etc/postgresql/$1/$2/conf.d/fleet.conf"
exec pg_ctlcluster "$1" "$2" start --foreground
"""


@dataclass(frozen=True)
class Server:
    """It runs."""

    host: hosts.Host
    ip: str

    def make(self, name: str) -> str:
        """A new and empty database with a user of that name, who has to give a password; answers its URL."""
        password = secrets.token_urlsafe()
        for statement in (
            f"DROP DATABASE IF EXISTS {name} WITH (FORCE)",
            f"DROP ROLE IF EXISTS {name}",
            f"CREATE ROLE {name} LOGIN PASSWORD '{password}'",
            f"CREATE DATABASE {name} OWNER {name}",
        ):
            self.sql(statement, "postgres")
        return f"postgresql+psycopg2://{name}:{password}@{self.ip}/{name}"

    def sql(self, statement: str, database: str) -> str:
        """What psql prints, as PostgreSQL's own superuser."""
        return self.host.run("psql", "-qtAXc", statement, database, user="postgres").strip()


@contextlib.contextmanager
def running(network: Network, ip: str) -> Iterator[Server]:
    """A server at that address."""
    place = network.client.api.create_endpoint_config(ipv4_address=ip, aliases=["db"])
    settings = {"network": network.name, "networking_config": {network.name: place}}
    with hosts.running(hosts.POSTGRESQL.tag(), command=["sh", "-euc", START], init=True, **settings) as host:
        hosts.until(lambda: host.succeeds("pg_isready", "-q"), told=host.told)
        yield Server(host, ip)
