"""The applications that are built: the one that the budgets are for, and a small one."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

# About 36 wheels, 52 MB, 186 MB when installed: a web service with a database and numbers.
PYPROJECT = """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "ledger"
version = "1.0.0"
description = "Keeps accounts, and sums them up"
authors = [{ name = "Example Team", email = "team@example.org" }]
requires-python = ">=3.11"
dependencies = [
    "alembic>=1.14", "cryptography>=44", "fastapi>=0.115", "httpx>=0.28", "jinja2>=3.1", "numpy>=2",
    "pandas>=2.2", "psycopg[binary]>=3.2", "sqlalchemy>=2", "uvicorn[standard]>=0.30",
]

[project.scripts]
ledger = "ledger:main"

[tool.release.service]
command = "ledger"
port = 8000
"""
MODULE = '''\
"""A service that uses what it depends on."""

import cryptography
import fastapi
import numpy
import pandas
import psycopg
import sqlalchemy
import uvicorn

app = fastapi.FastAPI(title="ledger")


@app.get("/health")
def health() -> dict:
    return {"sum": float(pandas.Series(numpy.arange(10)).sum()), "database": psycopg.__version__}


def main() -> None:
    uvicorn.run(app, host="127.0.0.1", port=8000)
'''


@dataclass(frozen=True)
class Work:
    """A project in a repository of its own."""

    name: str
    root: Path
    module: str  # the file whose one line a commit changes
    line: tuple[str, str]
    tag: str = "v1.0.0"

    def git(self, *arguments: str) -> None:
        identity = ("-c", "user.name=Bench", "-c", "user.email=bench@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(self.root), *identity, *arguments], check=True, stdout=subprocess.DEVNULL)

    def change_a_line(self) -> None:
        path = self.root / self.module
        text = path.read_text()
        assert text.count(self.line[0]) == 1, f"{self.module} has no line to change"
        path.write_text(text.replace(*self.line))
        self.git("commit", "--quiet", "--all", "-m", "One line")


def ledger(folder: Path) -> Work:
    """The application of the budgets, written into *folder*."""
    root = folder / "ledger"
    (root / "src/ledger").mkdir(parents=True)
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "src/ledger/__init__.py").write_text(MODULE)
    return _started(Work("ledger", root, "src/ledger/__init__.py", ('title="ledger"', 'title="Ledger"')))


def orders(folder: Path) -> Work:
    """``examples/orders``, copied into *folder*."""
    return _started(
        Work("orders", _copied("orders", folder), "src/orders/app.py", ('title="orders"', 'title="Orders"'))
    )


def hello(folder: Path) -> Work:
    """``examples/hello``, copied into *folder*."""
    line = ('headers=("name", "greeting")', 'headers=("Name", "Greeting")')
    return _started(Work("hello", _copied("hello", folder), "src/hello/cli.py", line, "v1.2.0"))


def _copied(name: str, folder: Path) -> Path:
    left_out = shutil.ignore_patterns("*lock*.toml", "__pycache__", "dist")
    return Path(shutil.copytree(EXAMPLES / name, folder / name, ignore=left_out))


def _started(work: Work) -> Work:
    work.git("init", "--quiet", "--initial-branch=main")
    return work
