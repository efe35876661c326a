"""pyproject.toml: what is read from it, and what is told about what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buildonce import project
from buildonce.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.project import Project

MODERN = """\
[build-system]
requires = ["hatchling>=1.27", "hatch-vcs"]
build-backend = "hatchling.build"

[project]
name = "Orders_API"
version = "1.0"
description = "Takes\\n  orders."
requires-python = ">=3.11"
dependencies = ["fastapi>=0.110", "psycopg2; python_version < '4'"]
license = "apache-2.0 OR mit"
authors = [{name = "Ada Lovelace", email = "ada@example.org"}, {name = "Charles"}, {email = "x@example.org"}]

[project.urls]
Homepage = "https://example.org/orders"
"""
POETRY = """\
[tool.poetry]
name = "orders"
version = "0.3.0"
description = "Takes orders."
authors = ["Ada Lovelace <ada@example.org>"]
license = "MIT"
homepage = "https://example.org"
[tool.poetry.dependencies]
python = "^3.11"
[build-system]
requires = ["poetry-core"]
build-backend = "poetry.core.masonry.api"
"""


def read(root: Path, text: str) -> Project:
    (root / "pyproject.toml").write_text(text)
    return project.read(root)


def problems(root: Path, text: str) -> list[tuple[str, str]]:
    with pytest.raises(ConfigurationError) as caught:
        read(root, text)
    assert caught.value.exit_code == 3
    return [(problem.message, problem.where) for problem in caught.value.problems]


def test_a_modern_project(tmp_path: Path) -> None:
    found = read(tmp_path, MODERN)
    assert found.root == tmp_path
    assert (found.name, found.distribution, found.static_version) == ("orders-api", "orders-api", "1.0")
    assert found.summary == "Takes orders."
    assert found.requires_python == ">=3.11"
    assert found.dependencies == ("fastapi>=0.110", "psycopg2; python_version < '4'")
    assert found.license == "Apache-2.0 OR MIT"
    assert found.authors == ("Ada Lovelace <ada@example.org>", "Charles", "x@example.org <x@example.org>")
    assert found.urls == (("Homepage", "https://example.org/orders"),)
    assert (found.build_requires, found.build_backend) == (
        ("hatchling>=1.27", "hatch-vcs"),
        "hatchling.build",
    )
    assert found.dynamic == ()


def test_a_dynamic_version(tmp_path: Path) -> None:
    found = read(tmp_path, '[project]\nname = "orders"\ndynamic = ["version", "dependencies"]\n')
    assert (found.static_version, found.dynamic) == ("", ("version", "dependencies"))


@pytest.mark.parametrize(
    ("text", "requires", "backend"),
    [
        ("", ("setuptools>=40.8.0",), "setuptools.build_meta:__legacy__"),
        (
            '[build-system]\nrequires = ["setuptools", "cython"]\n',
            ("setuptools", "cython"),
            "setuptools.build_meta:__legacy__",
        ),
        ('[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n', (), "own"),
    ],
)
def test_the_default_build_system(tmp_path: Path, text: str, requires: tuple[str, ...], backend: str) -> None:
    found = read(tmp_path, f'[project]\nname = "orders"\nversion = "1"\n{text}')
    assert (found.build_requires, found.build_backend) == (requires, backend)


def test_poetry(tmp_path: Path) -> None:
    found = read(tmp_path, POETRY)
    assert (found.name, found.static_version, found.summary) == ("orders", "0.3.0", "Takes orders.")
    assert (found.authors, found.license) == (("Ada Lovelace <ada@example.org>",), "MIT")
    assert found.urls == (("Homepage", "https://example.org"),)
    assert (found.dependencies, found.requires_python) == ((), "")
    assert found.dynamic == ("dependencies", "requires-python")


def test_a_plug_in_of_poetry_makes_the_version(tmp_path: Path) -> None:
    found = read(tmp_path, POETRY + "[tool.poetry-dynamic-versioning]\nenable = true\n")
    assert found.static_version == ""


def test_the_release_may_have_a_name_of_its_own(tmp_path: Path) -> None:
    found = read(tmp_path, MODERN + '[tool.release]\nname = "orders"\n')
    assert (found.name, found.distribution) == ("orders", "orders-api")


@pytest.mark.parametrize(
    ("license_", "wanted"),
    [
        ('{text = "MIT"}', "MIT"),
        ('{file = "LICENSE"}', ""),
        ('"All rights reserved, see the contract"', ""),
        ('"LicenseRef-Corp"', "LicenseRef-Corp"),
    ],
)
def test_licences(tmp_path: Path, license_: str, wanted: str) -> None:
    assert read(tmp_path, f'[project]\nname = "orders"\nversion = "1"\nlicense = {license_}\n').license == wanted


@pytest.mark.parametrize(
    ("old", "hint"), [("", "-C DIR"), ("setup.py", "setup.py may stay"), ("setup.cfg", "[project]")]
)
def test_no_pyproject(tmp_path: Path, old: str, hint: str) -> None:
    if old:
        (tmp_path / old).write_text("")
    with pytest.raises(ConfigurationError, match="there is no pyproject") as caught:
        project.read(tmp_path)
    assert caught.value.problems[0].where == str(tmp_path)
    assert hint in caught.value.problems[0].hint


def test_no_project_table(tmp_path: Path) -> None:
    assert problems(tmp_path, "[tool.ruff]\nline-length = 100\n") == [
        ("pyproject.toml has no [project] table", "pyproject.toml")
    ]


def test_no_toml(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "orders\n')
    with pytest.raises(ConfigurationError, match="not valid TOML") as caught:
        project.read(tmp_path)
    assert caught.value.problems[0].where == f"{tmp_path}/pyproject.toml:2:15"


@pytest.mark.parametrize(
    ("table", "message", "key"),
    [
        ('version = "1"', "the project has no name", "name"),
        ('name = "orders"', "the project has no version", "version"),
        ('name = "-orders"\nversion = "1"', "'-orders' is not a name", "name"),
        ('name = 1\nversion = "1"', "expected text, found 1", "name"),
        ('name = "orders"\nversion = "one"', "'one' is not a version (PEP 440)", "version"),
        ('name = "orders"\nversion = "1"\ndynamic = ["version"]', "both given and dynamic", "dynamic"),
        (
            'name = "orders"\nversion = "1"\nrequires-python = "3.11"',
            "'3.11' is not a version specifier",
            "requires-python",
        ),
        (
            'name = "orders"\nversion = "1"\ndependencies = ["a", "b=1"]',
            "'b=1' is not a requirement",
            "dependencies[1]",
        ),
        (
            'name = "orders"\nversion = "1"\ndependencies = {a = "1"}',
            "expected a list of texts",
            "dependencies",
        ),
        (
            'name = "orders"\nversion = "1"\nauthors = ["Ada"]',
            "expected an author, found 'Ada'",
            "authors[0]",
        ),
        (
            'name = "orders"\nversion = "1"\nurls = {Home = "example.org"}',
            "'example.org' is not an address",
            "urls.Home",
        ),
        ('name = "x"\nversion = "1"', "'x' is too short to name a Debian package", "name"),
    ],
)
def test_what_is_wrong_in_the_project_table(tmp_path: Path, table: str, message: str, key: str) -> None:
    found = problems(tmp_path, f"[project]\n{table}\n")
    assert message in found[0][0]
    assert found[0][1] == f"pyproject.toml: project.{key}"


def test_a_build_system_without_requirements(tmp_path: Path) -> None:
    text = '[project]\nname = "orders"\nversion = "1"\n[build-system]\nbuild-backend = "x"\n'
    assert problems(tmp_path, text)[0][1] == "pyproject.toml: build-system.requires"


def test_a_name_that_no_user_can_have(tmp_path: Path) -> None:
    text = '[project]\nname = "3orders"\nversion = "1"\n[tool.release.service]\ncommand = "orders"\n'
    assert problems(tmp_path, text) == [
        ("'3orders' cannot name the user of the service", "pyproject.toml: project.name")
    ]
    service = read(tmp_path, text + 'user = "orders"\n').settings.service
    assert service is not None
    assert service.user == "orders"


def test_problems_of_project_and_settings_together(tmp_path: Path) -> None:
    text = '[project]\nname = "orders"\nversion = "one"\n[tool.release]\nformat = ["deb"]\n'
    assert [where for _, where in problems(tmp_path, text)] == [
        "pyproject.toml: tool.release.format",
        "pyproject.toml: project.version",
    ]
