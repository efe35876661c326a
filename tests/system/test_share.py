"""The data that ships is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildonce.system import share


def test_it_is_found_in_the_checkout() -> None:
    assert share.path("builders", "targets").is_dir()


def test_an_installation_without_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(share, "__file__", str(tmp_path / "lib/buildonce/system/share.py"))
    with pytest.raises(RuntimeError, match="incomplete"):
        share.path("builders")
    installed = tmp_path / "lib/buildonce/_share/builders/targets"
    installed.mkdir(parents=True)
    assert share.path("builders") == Path(installed.parent)
