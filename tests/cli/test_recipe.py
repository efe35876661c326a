"""``release recipe``: what it lists, and what it refuses. With a release: tests/integration/test_recipes.py."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from buildonce import cli
from buildonce.recipes import NAMES

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["recipe", *arguments])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_without_a_name_it_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(NAMES)
    assert run("--json") == 0
    assert set(json.loads(capsys.readouterr().out)["recipes"]) == set(NAMES)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("sytemd", "--out", "x"), 1, "did you mean 'systemd'?"),
        (("helm", "--out", "x"), 1, "there are systemd, docker"),
        (("systemd",), 2, "--out DIR"),
    ],
)
def test_what_it_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, said: str
) -> None:
    assert run(*arguments, "-C", str(tmp_path)) == code
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nothing_was_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "orders"\nversion = "1"\n')
    assert run("docker", "--out", "x", "-C", str(tmp_path)) == 1
    assert "nothing was built here" in capsys.readouterr().err
