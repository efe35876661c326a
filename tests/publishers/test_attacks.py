"""What apt of this machine makes of a hostile repository: every row of the table in the docs, every column."""

from __future__ import annotations

import http.server
import itertools
import os
import subprocess
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests import small_release
from tests.pages import ROOT
from tests.publishers import attacks
from tests.publishers.attacks import ATTACKS, COLUMNS, Repositories

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.publishers.attacks import Attack

PAGE = ROOT / "docs/reference/publishers/apt.md"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the folder that the link leads to at the moment."""

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class LocalHost:
    """apt of this machine, with folders of its own: nothing of the machine's own state is seen or changed."""

    def __init__(self, root: Path, served: Path) -> None:
        self._root, self._served = root, served
        for name in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d", "got"):
            (root / name).mkdir(parents=True)
        (root / "status").touch()
        self.write(
            "apt.conf",
            f'Dir::Etc "{root}/etc";\nDir::State "{root}/state";\nDir::State::status "{root}/status";\n'
            f'Dir::Cache "{root}/cache";\nDir::Etc::trusted "/dev/null";\nDir::Etc::trustedparts "/dev/null";\n'
            'APT::Sandbox::User "";\nAcquire::http::Proxy "DIRECT";\nAcquire::Retries "0";\n'
            'APT::Architecture "amd64";\n',
        )

    def write(self, path: str, text: str) -> None:
        place = self._root / "etc" / path
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)

    def serve(self, folder: Path) -> None:
        self._served.unlink(missing_ok=True)
        self._served.symlink_to(folder)

    def update(self) -> tuple[int, str]:
        done = self._apt("update")
        return done.returncode, done.stdout

    def gets(self, package: str) -> str:
        for old in (self._root / "got").iterdir():
            old.unlink()
        done = self._apt("download", package)
        if done.returncode != 0:
            return ""
        (deb,) = (self._root / "got").iterdir()
        return ".".join(deb.name.split("_")[1].split(".")[:2])

    def _apt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # Parts of /etc/apt/apt.conf.d are read before APT_CONFIG can say otherwise; ours come after them.
        return subprocess.run(
            ["apt-get", "-o", f"Dir::Etc::parts={self._root}/etc/apt.conf.d", *arguments],
            env={**os.environ, "APT_CONFIG": str(self._root / "etc/apt.conf"), "LC_ALL": "C.UTF-8"},
            cwd=self._root / "got",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A link, and the address at which what it leads to is seen."""
    link = tmp_path_factory.mktemp("web") / "debian"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(link.parent))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield link, f"http://127.0.0.1:{server.server_port}/debian"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory, served: tuple[Path, str]) -> Repositories:
    base = tmp_path_factory.mktemp("repositories")
    keys = tmp_path_factory.mktemp("keys")
    return Repositories(base, small_release.key(keys), small_release.key(keys, "other"), served[1])


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.name)
def test_a_row(attack: Attack, repositories: Repositories, served: tuple[Path, str], tmp_path: Path) -> None:
    hosts = (LocalHost(tmp_path / str(number), served[0]) for number in itertools.count())
    cells = [attacks.outcome(next(hosts), attack, repositories, **column) for column in COLUMNS]
    assert attacks.row(attack, cells) in PAGE.read_text().splitlines()


def test_the_table_has_no_other_rows() -> None:
    table = PAGE.read_text().split("## Attacks\n")[1].split("\n## ")[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines() if line.startswith("| ")]
    assert rows[1:] == [attack.name for attack in ATTACKS]
