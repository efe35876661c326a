"""Debian hosts and the repository that `release publish` made, which nginx serves: nothing else is known to them.

The table of attacks in the docs, too, on every Debian release.
"""

from __future__ import annotations

import contextlib
import itertools
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests import small_release
from tests.integration import hosts
from tests.integration.conftest import QUIET
from tests.pages import ROOT
from tests.publishers import attacks
from tests.publishers.attacks import ATTACKS, COLUMNS, DIFFERENT, Repositories

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Built, Example
    from tests.integration.hosts import Host
    from tests.publishers.attacks import Attack

PAGE = ROOT / "docs/reference/publishers/apt.md"
URL = "http://127.0.0.1:8080/debian"
NGINX = """\
events {}
http { access_log off; server { listen 127.0.0.1:8080; root /srv/web; } }
"""
# What the application's deb needs of Debian, and a web server; nothing of it comes from our repository.
IMAGES = {
    "debian-12": hosts.Image(name="apt-host", packages=("systemd", "nginx-light", "python3.11", "libpq5")),
    "debian-13": hosts.Image(name="apt-host", packages=("systemd", "nginx-light"), target="debian-13"),
}
DESTINATIONS = f"""
[tool.release.publish.staging]
type = "apt"
path = "{{folder}}"
suite = "{{{{codename}}}}-staging"
url = "{URL}"

[tool.release.publish.production]
type = "apt"
path = "{{folder}}"
url = "{URL}"
"""


@dataclass
class WebHost:
    """A host with a web server that it alone reaches: whoever owns that is between it and the repository."""

    host: Host
    target: str
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def write(self, path: str, text: str) -> None:
        self.host.run("sh", "-euc", f'printf "%s" "$1" >/etc/apt/{path}', "-", text)

    def serve(self, folder: Path) -> None:
        self.host.run("rm", "-rf", "/srv/web/debian")
        if folder.is_dir():
            place = self.host.put(folder, f"/srv/states/{next(self.numbers)}")
            self.host.run("ln", "-s", place, "/srv/web/debian")

    def update(self) -> tuple[int, str]:
        ended = self.host.execute("apt-get", "update")
        return ended.code, ended.output

    def gets(self, package: str) -> tuple[str, str]:
        self.host.run("sh", "-euc", "rm -rf /srv/got; mkdir -m 777 /srv/got")
        script = (
            'cd /srv/got; apt-get -qq download "$1" >/dev/null 2>&1 || exit 0; dpkg-deb -f ./*.deb Version; sha256sum *'
        )
        said = self.host.run("sh", "-uc", script, "-", package).split()
        return (".".join(said[0].split(".")[:2]), said[1]) if said else ("", "")

    def forget(self) -> None:
        """Be a new host."""
        self.host.sh("rm -rf /var/lib/apt/lists/* /etc/apt/*.d/tinyapp* /etc/apt/apt.conf.d/99careless")


@contextlib.contextmanager
def web_host(target: str) -> Iterator[WebHost]:
    with hosts.running(IMAGES[target].tag(), target=target, command=hosts.IDLE, init=True) as host:
        host.run(
            "sh", "-euc", 'mkdir -p /srv/web; printf "%s" "$1" >/srv/nginx.conf; nginx -c /srv/nginx.conf', "-", NGINX
        )
        yield WebHost(host, target)


@pytest.fixture(scope="module", params=sorted(IMAGES))
def attacked(request: pytest.FixtureRequest) -> Iterator[WebHost]:
    with web_host(request.param) as host:
        yield host


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Repositories:
    keys = tmp_path_factory.mktemp("keys")
    base = tmp_path_factory.mktemp("repositories")
    return Repositories(base, small_release.key(keys), small_release.key(keys, "other"), URL)


def test_a_host_that_knows_nothing_else(orders: Example, first: Built, second: Built, tmp_path: Path) -> None:
    """Staging, then the version that is asked for by name, then a newer one; back to the older, which stayed."""
    (tmp_path / "debian").mkdir()
    settings = orders.root / "pyproject.toml"
    text, to = settings.read_text(), ("--to", "staging")
    settings.write_text(text + DESTINATIONS.format(folder=tmp_path / "debian"))
    try:
        sent = [orders.release("publish", str(one.folder), *to)["destinations"][0] for one in (first, second)]
        again = orders.release("publish", str(first.folder), *to)["destinations"][0]
    finally:
        settings.write_text(text)
    assert (again["sent"], again["use"]) == ([], sent[0]["use"])
    with web_host("debian-12") as web:
        web.serve(tmp_path / "debian")
        for suffix, folder in ((".sources", "sources.list.d"), (".pref", "preferences.d")):
            web.write(f"{folder}/orders{suffix}", (tmp_path / f"debian/bookworm-staging{suffix}").read_text())
        assert web.update()[0] == 0
        for number, built in ((0, first), (1, second), (0, first)):
            (line,) = sent[number]["use"]
            program, *arguments = shlex.split(line, comments=True)
            web.host.run(program, "-qq", "--yes", "--allow-downgrades", *arguments, environment=QUIET)
            assert web.host.run("orders", "--version", user="nobody").strip() == built.version
            assert web.host.run("dpkg", "-V", "orders") == ""


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.name)
def test_a_row_of_the_table(attack: Attack, repositories: Repositories, attacked: WebHost) -> None:
    cells = []
    for column in COLUMNS:
        attacked.forget()
        cells.append(attacks.outcome(attacked, attack, repositories, **column))
    assert attacks.row(attack, cells, attacked.target) in PAGE.read_text().splitlines()


def test_the_table_has_no_other_rows() -> None:
    table = PAGE.read_text().split("## Attacks\n")[1].split("\n## ")[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines() if line.startswith("| ")]
    alone = {f"{name}, {label}" for (_, name), label in DIFFERENT.items()}
    assert [name for name in rows[1:] if name not in alone] == [attack.name for attack in ATTACKS]
    assert alone < set(rows)
