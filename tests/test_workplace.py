"""The folder in which one release is made, and what is left of it when that fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buildonce import workplace
from buildonce.errors import BuildError, ReleaseError

if TYPE_CHECKING:
    from buildonce.system.store import Store


def test_nothing_is_left_of_it(tmp_path: Path, store: Store) -> None:
    with workplace.opened(tmp_path / "dist", "shop", store) as work:
        assert work.parent == tmp_path / "dist"
        (work / "half").write_text("half")
    assert sorted(path.name for path in (tmp_path / "dist").iterdir()) == [".gitignore", ".lock"]
    assert not (store.root / "logs").exists()


def test_it_is_ours_alone(tmp_path: Path, store: Store) -> None:
    out = tmp_path / "dist"
    busy = rf"another build is running here \(process {os.getpid()}\)"
    with workplace.opened(out, "shop", store):
        with pytest.raises(ReleaseError, match=busy), workplace.opened(out, "other", store):
            pass
        with workplace.opened(tmp_path / "elsewhere", "shop", store):
            pass
    with workplace.opened(out, "shop", store):
        pass


def test_what_a_killed_build_left_is_removed(tmp_path: Path, store: Store) -> None:
    out = tmp_path / "dist"
    for name in (".shop.abandoned", "shop-1.0", ".other.abandoned"):
        (out / name).mkdir(parents=True)
    with workplace.opened(out, "shop", store):
        assert {path.name for path in out.iterdir()} >= {"shop-1.0", ".other.abandoned"}
        assert not (out / ".shop.abandoned").exists()


def fail(out: Path, store: Store, said: str) -> ReleaseError:
    def build() -> None:
        with workplace.opened(out, "shop", store) as work:
            log = work / workplace.LOGS / "deb" / "build.log"
            log.parent.mkdir(parents=True)
            log.write_text(said)
            raise BuildError("it failed", log="the end", log_path=str(log))

    with pytest.raises(BuildError) as caught:
        build()
    return caught.value


def test_the_log_of_a_failure_is_where_the_error_says(tmp_path: Path, store: Store) -> None:
    error = fail(tmp_path / "dist", store, "why it failed")
    assert error.log_path.startswith(str(store.root / "logs" / "shop-"))
    assert Path(error.log_path).read_text() == "why it failed"


def test_only_the_last_failure_of_a_folder_keeps_its_logs(tmp_path: Path, store: Store) -> None:
    first = fail(tmp_path / "dist", store, "first")
    assert fail(tmp_path / "dist", store, "second").log_path == first.log_path
    assert Path(first.log_path).read_text() == "second"
    assert fail(tmp_path / "elsewhere", store, "third").log_path != first.log_path


def test_no_error_leads_to_a_log_that_is_not_there(tmp_path: Path, store: Store) -> None:
    store.root.mkdir()
    (store.root / "logs").write_text("in the way")
    assert fail(tmp_path / "dist", store, "lost").log_path == ""


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk(tmp_path: Path, store: Store, code: int) -> None:
    store.root.mkdir()
    with (
        pytest.raises(ReleaseError, match=r"^the disk is full$") as caught,
        workplace.opened(tmp_path / "dist", "shop", store),
    ):
        raise OSError(code, os.strerror(code))
    (problem,) = caught.value.problems
    assert problem.where in {str(tmp_path / "dist"), str(store.root)}
    assert "--out" in problem.hint
    assert "BUILDONCE_STORE" in problem.hint


def test_full_disk_that_a_tool_tells(tmp_path: Path, store: Store) -> None:
    store.root.mkdir()
    with (
        pytest.raises(ReleaseError, match=r"^the disk is full$"),
        workplace.opened(tmp_path / "dist", "shop", store),
    ):
        raise BuildError("git ended with exit code 128", log="fatal: write error: No space left on device")


def test_other_errors_pass(tmp_path: Path, store: Store) -> None:
    with pytest.raises(PermissionError), workplace.opened(tmp_path / "dist", "shop", store):
        raise PermissionError(errno.EACCES, "no")


def test_a_place_that_is_no_folder(tmp_path: Path, store: Store) -> None:
    (tmp_path / "dist").write_text("a file")
    told = pytest.raises(ReleaseError, match="no release can be written there")
    with told as caught, workplace.opened(tmp_path / "dist", "shop", store):
        pass
    assert "--out" in caught.value.problems[0].hint
