"""[tool.release.up]: what is taken, what is told about what is not, and what takes the place of what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buildonce import config
from buildonce.errors import ConfigurationError
from buildonce.needs import filled

if TYPE_CHECKING:
    from pathlib import Path

DATABASE = '[tool.release.up.needs.database]\ntype = "postgresql"\n'
CACHE = """\
[tool.release.up.needs.cache]
type = "command"
packages = ["redis-server"]
command = "redis-server --bind 0.0.0.0"
port = 6379
"""


def problem(root: Path, text: str) -> tuple[str, str]:
    (root / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        config.read(root)
    (found,) = caught.value.problems
    return found.message, found.where.removeprefix("pyproject.toml: tool.release.up")


def test_needs_and_what_the_application_is_told(tmp_path: Path) -> None:
    told = '[tool.release.up.environment]\nURL = "{database.url}?cache={cache.host}:{cache.port}"\nMODE = "local"\n'
    (tmp_path / "pyproject.toml").write_text(DATABASE + CACHE + told)
    found = config.read(tmp_path).up
    facts = {"database": {"url": "postgresql://{cache.port}"}, "cache": {"host": "cache", "port": "6379"}}
    # What stands in for a placeholder is not looked at again.
    assert filled(found.environment, facts) == {"URL": "postgresql://{cache.port}?cache=cache:6379", "MODE": "local"}


@pytest.mark.parametrize(
    ("text", "message", "where"),
    [
        ('[tool.release.up.needs.app]\ntype = "postgresql"', "'app' is not a host name", ".needs.app"),
        ('[tool.release.up.needs."-x"]\ntype = "postgresql"', "'-x' is not a host name", ".needs.-x"),
        (
            DATABASE.replace("postgresql", "mysql"),
            "expected 'postgresql' or 'command', found",
            ".type",
        ),
        (DATABASE + "port = 5432", 'type = "postgresql" knows port itself', ".needs.database"),
        (CACHE.replace("port = 6379", ""), 'type = "command" needs `packages`, `command` and `port`', ".needs.cache"),
        (CACHE.replace("--bind", "'--bind"), "is no command line: No closing quotation", ".needs.cache"),
        (CACHE.replace("6379", "70000"), "expected a port from 1 to 65535", ".port"),
        (CACHE + 'data = ["../x"]', "is not an absolute path", ".data[0]"),
        ('[tool.release.up.environment]\nX = "{database.url}"', "{database.url} in X is nothing that is there", ""),
        (CACHE + '[tool.release.up.credentials]\nx = "{cache.password}"', "known: cache.host, cache.port", ""),
        ("[tool.release.up]\ntimeout = 0", "above 0", ".timeout"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, message: str, where: str) -> None:
    said, place = problem(tmp_path, text)
    assert message in said
    assert place.endswith(where)


def test_an_unknown_key_of_a_need(tmp_path: Path) -> None:
    assert problem(tmp_path, DATABASE + "prt = 1") == ("unknown key 'prt'", ".needs.database.prt")
