"""Reading what a stranger may have filled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buildonce.errors import VerificationError
from buildonce.signing import folder

if TYPE_CHECKING:
    from pathlib import Path


def test_no_more_is_read_than_allowed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")

    assert folder.read(tmp_path, "a", most=5) == b"12345"
    with pytest.raises(VerificationError, match="larger than the 4 bytes") as caught:
        folder.read(tmp_path, "a", most=4)
    assert caught.value.problems[0].where == "a"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").symlink_to("a")

    with pytest.raises(VerificationError):
        folder.read(tmp_path, "b")
    with pytest.raises(VerificationError, match="not a plain file"):
        folder.require_plain(tmp_path, "b")


@pytest.mark.parametrize("make", ["touch", "symlink"])
def test_a_folder_has_to_be_one(tmp_path: Path, make: str) -> None:
    (tmp_path / "real").mkdir()
    if make == "touch":
        (tmp_path / "place").touch()
    else:
        (tmp_path / "place").symlink_to("real")

    with pytest.raises(VerificationError, match="not a folder"):
        folder.names(tmp_path, "place")
    with pytest.raises(VerificationError, match="missing"):
        folder.names(tmp_path, "nowhere")


def test_the_first_unexpected_thing_is_named(tmp_path: Path) -> None:
    for name in ("a", "c", "b"):
        (tmp_path / name).touch()

    with pytest.raises(VerificationError) as caught:
        folder.require_only(tmp_path, ".", {"a"})
    assert caught.value.problems[0].where == "b"
