"""``release bundle``: what it wants to be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Ended
    from tests.conftest import Repository


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name the folder of a release, or say --inputs"),
        (["--inputs", "--out", "x.tar", "--to", "v"], "--out writes one file, --to a vault: give one of the two"),
    ],
)
def test_usage(release: Callable[..., Ended], arguments: list[str], message: str) -> None:
    ended = release("bundle", *arguments)
    assert ended.code == 2
    assert f"error: {message}\n" in ended.stderr


def test_without_a_lock(release: Callable[..., Ended], repository: Repository) -> None:
    ended = release("bundle", "--inputs", "--out", "x.tar", "-C", str(repository.root), "--json")
    assert ended.code == 3
    assert "there is no lock" in ended.data["error"]["problems"][0]["message"]
    assert not (repository.root / "x.tar").exists()
