"""Console scripts that name nothing are found before anybody installs them."""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from buildonce import entrypoints, tree
from buildonce.errors import BuildError
from buildonce.model import Wheel
from buildonce.system import files
from tests import wheelmaker
from tests.rooms import HERE, Room

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from buildonce.system.store import Store

MODULE = """
import sys
print("noise while being imported")
VERSION = "1"
class App:
    @staticmethod
    def run(): ...
def main(): ...
"""
CONFIGURED = "import os\nURL = os.environ['DATABASE_URL']\ndef main(): ...\n"
LACKING = "import nowhere_to_be_found\ndef main(): ...\n"
CONTENTS = {"orders/__init__.py": MODULE, "orders/configured.py": CONFIGURED, "orders/lacking.py": LACKING}
PYPROJECT = """\
[project]
name = "orders"

[project.scripts]
"good" = "orders:main"
bad = "orders:missing"

[tool.other]
bad = "x"
"""


# What a look at the files cannot tell from one that is right, and what it can.
LAZY = "def __getattr__(name): ...\n"
FOREIGN: dict[str, str | bytes] = {
    **CONTENTS,
    "orders/lazy.py": LAZY,
    "orders/fast.cpython-311-elsewhere.so": b"",
    "orders/odd.py": "def (:",
}


@pytest.fixture
def look(tmp_path: Path, store: Store) -> Callable[[dict[str, str]], bool]:
    """The same for a target whose compiled modules this machine cannot import."""

    def look(scripts: dict[str, str], contents: Mapping[str, str | bytes] = FOREIGN) -> bool:
        path = wheelmaker.make(tmp_path, contents, scripts=scripts)
        size = path.stat().st_size
        wheel = Wheel(name="orders", version="1.0", path=path, sha256=files.sha256_file(path), size=size)
        elsewhere = dataclasses.replace(HERE, name="elsewhere", build_on=HERE)
        prefix, into, runner = PurePosixPath(tmp_path / "final/orders"), tmp_path / "tree", Room()
        tree.plant([wheel], target=HERE, prefix=prefix, runner=runner, store=store, into=into, root_key="root")
        return entrypoints.check(wheel, target=elsewhere, prefix=prefix, tree_root=into, runner=runner)

    return look


@pytest.fixture
def check(tmp_path: Path, store: Store) -> Callable[[dict[str, str]], None]:
    def check(scripts: dict[str, str]) -> None:
        path = wheelmaker.make(tmp_path, CONTENTS, scripts=scripts)
        size = path.stat().st_size
        wheel = Wheel(name="orders", version="1.0", path=path, sha256=files.sha256_file(path), size=size)
        prefix, into = PurePosixPath(tmp_path / "final/orders"), tmp_path / "tree"
        runner = Room()
        tree.plant([wheel], target=HERE, prefix=prefix, runner=runner, store=store, into=into, root_key="root")
        entrypoints.check(wheel, target=HERE, prefix=prefix, tree_root=into, runner=runner, project_root=tmp_path)

    return check


def test_good_scripts(check: Callable[[dict[str, str]], None]) -> None:
    check({"orders": "orders:main", "app": "orders:App.run"})


def test_no_scripts(check: Callable[[dict[str, str]], None]) -> None:
    check({})


def test_a_module_that_wants_configuration_is_no_error(check: Callable[[dict[str, str]], None]) -> None:
    check({"orders": "orders.configured:main"})


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("orders:missing", "the module orders has no missing"),
        ("orders:App.walk", "the module orders has no App.walk"),
        ("orders:VERSION", "orders:VERSION cannot be called"),
        ("orders.gone:main", "no module named orders.gone"),
        ("other:main", "no module named other"),
        ("orders.lacking:main", "no module named nowhere_to_be_found"),
    ],
)
def test_a_script_that_names_nothing(reference: str, why: str, check: Callable[[dict[str, str]], None]) -> None:
    with pytest.raises(BuildError) as error:
        check({"good": "orders:main", "bad": reference})
    (problem,) = error.value.problems
    assert problem.message == f"the console script bad={reference} cannot start on debian-12: {why}"
    assert problem.where == "pyproject.toml: [project.scripts] bad"
    assert problem.hint


def test_the_line_of_pyproject_is_named(check: Callable[[dict[str, str]], None], tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    with pytest.raises(BuildError) as error:
        check({"good": "orders:main", "bad": "orders:missing"})
    assert error.value.problems[0].where == "pyproject.toml:6: [project.scripts] bad"


@pytest.mark.parametrize(
    "reference",
    ["orders:main", "orders:App.walk", "orders.fast:main", "orders.lazy:main", "orders.odd:main", "json.tool:main"],
)
def test_what_a_look_finds_or_cannot_deny(reference: str, look: Callable[[dict[str, str]], bool]) -> None:
    assert not look({"orders": reference})


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("orders:missing", "the module orders has no missing"),
        ("orders.gone:main", "no module named orders.gone"),
        ("other:main", "no module named other"),
    ],
)
def test_what_a_look_misses(reference: str, why: str, look: Callable[[dict[str, str]], bool]) -> None:
    with pytest.raises(BuildError) as error:
        look({"bad": reference})
    assert str(error.value) == f"the console script bad={reference} cannot start on elsewhere: {why}"


def test_without_compiled_modules_all_is_imported_as_ever(look: Callable[..., bool]) -> None:
    with pytest.raises(BuildError, match=r"the module orders has no App\.walk"):
        look({"orders": "orders:App.walk"}, CONTENTS)
