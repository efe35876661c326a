"""What ``[tool.release.service]`` accepts of readiness, sockets, credentials and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buildonce import config
from buildonce.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.service import Service

SERVICE = '[service]\ncommand = "orders serve"\n'


def read(root: Path, more: str) -> Service:
    (root / "release.toml").write_text(SERVICE + more)
    found = config.read(root).service
    assert found is not None
    return found


def test_nothing_is_asked_for_by_default(tmp_path: Path) -> None:
    found = read(tmp_path, "")
    assert (found.notify, found.socket, found.credentials, found.rollback_floor) == (False, False, (), "")
    assert (found.resources.memory, found.resources.tasks, found.resources.cpu) == ("", None, "")


def test_everything(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        'port = 8000\nsocket = true\nnotify = true\ncredentials = ["db-url"]\nrollback_floor = "1.4"\n'
        'resources = { memory = "512M", tasks = 128, cpu = "200%" }\n',
    )
    assert (found.socket, found.notify, found.credentials, found.rollback_floor) == (True, True, ("db-url",), "1.4")
    assert (found.resources.memory, found.resources.tasks, found.resources.cpu) == ("512M", 128, "200%")


@pytest.mark.parametrize(
    ("more", "where", "said"),
    [
        ("socket = true", "service.socket", "`socket` needs `port`"),
        ('port = 1\nsocket = "yes"', "service.socket", "expected true or false, found the text 'yes'"),
        ('rollback_floor = "latest"', "service.rollback_floor", "'latest' is not a version"),
        ('credentials = ["../key"]', "service.credentials[0]", "'../key' is not a file name"),
        ('resources = { memory = "512" }', "service.resources.memory", "'512' is not an amount of memory"),
        ('resources = { cpu = "2" }', "service.resources.cpu", "'2' is not a share of a CPU"),
        ("resources = { tasks = 0 }", "service.resources.tasks", "expected a number from 1 up, found the number 0"),
    ],
)
def test_what_is_refused_and_where(tmp_path: Path, more: str, where: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, more)
    (problem,) = caught.value.problems
    assert problem.where == f"release.toml: {where}"
    assert said in problem.message


def test_a_key_that_was_meant(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="unknown key 'memroy'") as caught:
        read(tmp_path, 'resources = { memroy = "1G" }')
    assert caught.value.problems[0].hint == "did you mean 'memory'?"
