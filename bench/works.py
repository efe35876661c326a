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
    left_out = shutil.ignore_patterns("*lock*.toml", "__pycache__", "dist")
    root = Path(shutil.copytree(EXAMPLES / "orders", folder / "orders", ignore=left_out))
    return _started(Work("orders", root, "src/orders/app.py", ('title="orders"', 'title="Orders"')))


def _started(work: Work) -> Work:
    work.git("init", "--quiet", "--initial-branch=main")
    return work
