"""Pexes made by pex in a real build root, read back, tampered with and run where there is only a Python."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildonce import target as targets
from buildonce import tree
from buildonce.builders.pex import PexBuilder
from buildonce.errors import BuildError, ConfigurationError, VerificationError
from buildonce.model import Wheelhouse
from buildonce.system import files
from buildonce.system.run import HostRunner
from tests.builders import small_stage
from tests.oci import image_stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from buildonce.model import Artifact, Command, Contents, Outcome, Target
    from buildonce.stage import Stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return small_stage.stage(tmp_path_factory.mktemp("work") / "stage")


@pytest.fixture(scope="module")
def artifact(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return build(stage, tmp_path_factory.mktemp("out"))


def on(stage: Stage, target: Target, compiled: Iterable[Path]) -> Stage:
    """The same application on *target*, with *compiled* in place of its compiled wheels."""
    pure = [wheel for wheel in stage.wheelhouse.wheels if wheel.filename.endswith("-any.whl")]
    house = (*pure, *map(small_stage.wheel, compiled))
    wheels = tuple(sorted(house, key=lambda wheel: wheel.name))
    return dataclasses.replace(stage, target=target, wheelhouse=Wheelhouse(target=target, wheels=wheels))


def build(stage: Stage, into: Path) -> Artifact:
    (artifact,) = PexBuilder().build(stage, into, small_stage.runner())
    return artifact


def read(path: Path) -> Contents:
    return PexBuilder().read(path, "pex", name="tinyapp", interpreter="/usr/bin/python3.11")


def differences(stage: Stage, artifact: Artifact, path: Path) -> tuple[str, ...]:
    expected = (*stage.tree.carried_by_wheels().entries, *artifact.extras)
    return tree.difference(expected, read(path).entries)


def info(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        found: dict[str, Any] = json.loads(archive.read("PEX-INFO"))
    return found


def test_several_commands_and_none_named_is_refused(tmp_path: Path) -> None:
    stage = small_stage.bare(tmp_path, scripts=("tiny-a", "tiny-b"))
    with pytest.raises(ConfigurationError, match="tiny-a, tiny-b") as caught:
        PexBuilder().build(stage, tmp_path, HostRunner())
    assert caught.value.problems[0].hint == 'say which one: command = "tiny-a"'


def test_no_pex_among_the_tools_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="pex is not among the locked tools"):
        PexBuilder().build(small_stage.bare(tmp_path), tmp_path, HostRunner())


@pytest.mark.integration
class TestBuilding:
    def test_it_carries_the_tree_and_what_was_meant_and_nothing_else(self, stage: Stage, artifact: Artifact) -> None:
        contents = read(artifact.path)
        assert differences(stage, artifact, artifact.path) == ()
        assert (contents.name, contents.version) == ("tinyapp", "1.2.4.dev5+g1a2b3c4")
        assert artifact.file == "tinyapp-1.2.4.dev5+g1a2b3c4-debian-12.pex"
        assert artifact.path.stat().st_mode & 0o7777 == 0o755

    def test_every_wheel_in_it_is_the_locked_one(self, stage: Stage, artifact: Artifact) -> None:
        locked = {wheel.filename: wheel.sha256 for wheel in stage.wheelhouse.wheels}
        assert info(artifact.path)["distributions"] == locked
        with zipfile.ZipFile(artifact.path) as archive:
            for name, digest in locked.items():
                assert files.sha256_bytes(archive.read(f".deps/{name}")) == digest

    def test_the_same_bytes_again_elsewhere_under_another_umask_and_time_zone(
        self, stage: Stage, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        monkeypatch.setenv("PEX_VERBOSE", "9")
        for wheel in stage.wheelhouse.wheels:
            os.utime(wheel.path, (1_000_000_000, 1_000_000_000))
        before = os.umask(0o077)
        try:
            again = build(stage, tmp_path / ("a folder of another length" * 4))
        finally:
            os.umask(before)
        assert again.sha256 == artifact.sha256
        assert again.path.stat().st_mode & 0o7777 == 0o755

    def test_a_foreign_target_has_its_own_wheels_and_pure_ones_make_the_same_file(
        self, stage: Stage, artifact: Artifact, tmp_path: Path
    ) -> None:
        foreign = on(
            stage, targets.load("debian-12-arm64"), image_stage.download("markupsafe==2.1.5", machine="aarch64")
        )
        made = build(foreign, tmp_path / "out")
        assert made.file == "tinyapp-1.2.4.dev5+g1a2b3c4-debian-12-arm64.pex"
        held = info(made.path)
        assert held["distributions"] == {wheel.filename: wheel.sha256 for wheel in foreign.wheelhouse.wheels}
        assert any("aarch64" in name for name in held["distributions"])
        assert held["interpreter_constraints"] == []
        again = on(stage, targets.load("debian-12-arm64"), ())
        pure = dataclasses.replace(again, target=stage.target)
        assert build(again, tmp_path / "again").sha256 == build(pure, tmp_path / "pure").sha256

    def test_a_wheel_for_another_machine_is_refused_by_pex(self, stage: Stage, tmp_path: Path) -> None:
        arm = targets.load("debian-12-arm64")
        native = [wheel.path for wheel in stage.wheelhouse.wheels if "x86_64" in wheel.filename]
        with pytest.raises(BuildError):
            build(on(stage, arm, native), tmp_path / "out")

    def test_arguments_of_the_command_go_before_those_of_the_user(self, tmp_path: Path) -> None:
        stage = small_stage.stage(
            tmp_path / "stage", scripts=("other", "tinyapp"), settings={"command": "other --from here"}
        )
        made = build(stage, tmp_path / "out")
        assert info(made.path)["inject_args"] == ["--from", "here"]
        assert run(made.path, "now").stdout == "tinyapp click &lt; --from here now\n"

    def test_a_command_that_no_wheel_has_fails_with_what_pex_said(self, stage: Stage, tmp_path: Path) -> None:
        settings = stage.project.settings.model_copy(update={"command": "nothing"})
        project = dataclasses.replace(stage.project, settings=settings)
        with pytest.raises(BuildError) as caught:
            build(dataclasses.replace(stage, project=project), tmp_path)
        assert "nothing" in caught.value.log
        assert list(tmp_path.iterdir()) == []

    def test_an_empty_pex_is_never_taken_for_success(self, stage: Stage, tmp_path: Path) -> None:
        class Forgetful:
            """Leaves out the requirements, as pex lets one do."""

            def run(self, command: Command, *, log: Path | None = None, check: bool = True) -> Outcome:
                argv = tuple(
                    part
                    for part in command.argv
                    if not (part[0].isalpha() and "==" in part) and "console-script" not in part
                )
                return small_stage.runner().run(dataclasses.replace(command, argv=argv), log=log, check=check)

        with pytest.raises(BuildError, match="distributions"):
            PexBuilder().build(stage, tmp_path, Forgetful())


def _rewritten(path: Path, into: Path, change: Callable[[str, bytes], bytes | None], **more: bytes) -> Path:
    """The pex with members changed, left out (None) or added."""
    with zipfile.ZipFile(path) as old:
        start = path.read_bytes()[: min(member.header_offset for member in old.infolist())]
        into.write_bytes(start)
        with zipfile.ZipFile(into, "a") as new:
            for member in old.infolist():
                data = change(member.filename, old.read(member))
                if data is not None:
                    new.writestr(member, data)
            for name, data in more.items():
                new.writestr(name, data)
    return into


def flipped(path: Path, data: st.DataObject) -> bytes:
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    return bytes(content)


def _swap(name: str, new: bytes | None) -> Callable[[str, bytes], bytes | None]:
    return lambda path, data: new if path == name else data


CLICK = ".deps/click-8.1.7-py3-none-any.whl"


@pytest.mark.integration
class TestReading:
    @pytest.mark.parametrize(
        ("name", "new", "line"),
        [
            (".bootstrap/pex/pex.py", b"x", "content differs: .bootstrap/pex/pex.py"),
            ("__main__.py", b"x", "content differs: __main__.py"),
            ("__pex__/__init__.py", None, "missing: __pex__/__init__.py"),
        ],
    )
    def test_every_fault_is_named(
        self, stage: Stage, artifact: Artifact, tmp_path: Path, name: str, new: bytes | None, line: str
    ) -> None:
        path = _rewritten(artifact.path, tmp_path / "changed.pex", _swap(name, new))
        (found,) = differences(stage, artifact, path)
        assert found.startswith(line)

    def test_an_added_file_is_named(self, stage: Stage, artifact: Artifact, tmp_path: Path) -> None:
        path = _rewritten(artifact.path, tmp_path / "more.pex", lambda _, data: data, **{"sitecustomize.py": b""})
        assert differences(stage, artifact, path) == ("unexpected: sitecustomize.py",)

    def test_another_shebang_is_seen(self, stage: Stage, artifact: Artifact, tmp_path: Path) -> None:
        path = tmp_path / "shebang.pex"
        path.write_bytes(artifact.path.read_bytes().replace(b"python3.11\n", b"python3.12\n", 1))
        (found,) = differences(stage, artifact, path)
        assert found.startswith("content differs: #!")

    @pytest.mark.parametrize("new", [b"PK", None])
    def test_a_wheel_that_is_not_the_one_told_of_is_refused(
        self, artifact: Artifact, tmp_path: Path, new: bytes | None
    ) -> None:
        path = _rewritten(artifact.path, tmp_path / "changed.pex", _swap(CLICK, new))
        with pytest.raises(VerificationError, match=r"click-8\.1\.7"):
            read(path)

    def test_another_wheel_with_its_own_digest_is_seen_in_the_files(
        self, stage: Stage, artifact: Artifact, tmp_path: Path
    ) -> None:
        with zipfile.ZipFile(artifact.path) as archive:
            (tmp_path / "click.whl").write_bytes(archive.read(CLICK))
        with zipfile.ZipFile(tmp_path / "click.whl", "a") as wheel:
            wheel.writestr("click/more.py", "")
        other = (tmp_path / "click.whl").read_bytes()
        told = info(artifact.path)
        told["distributions"][CLICK.removeprefix(".deps/")] = files.sha256_bytes(other)
        swapped = {CLICK: other, "PEX-INFO": json.dumps(told).encode()}
        path = _rewritten(artifact.path, tmp_path / "other.pex", swapped.get)
        found = differences(stage, artifact, path)
        assert any("unexpected" in line and "click/more.py" in line for line in found)
        assert any(line.startswith(f"content differs: {CLICK}") for line in found)

    def test_two_members_of_one_name_are_refused(self, artifact: Artifact, tmp_path: Path) -> None:
        with pytest.warns(UserWarning, match="Duplicate"):
            path = _rewritten(artifact.path, tmp_path / "twice.pex", lambda _, data: data, **{"__main__.py": b""})
        with pytest.raises(VerificationError, match="twice"):
            read(path)

    @given(data=st.data())
    @settings(max_examples=60, deadline=None)
    def test_a_flipped_byte_is_never_more_than_a_refusal(
        self, artifact: Artifact, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        path = tmp_path_factory.mktemp("flipped") / "flipped.pex"
        path.write_bytes(flipped(artifact.path, data))
        with contextlib.suppress(VerificationError):
            read(path)

    @pytest.mark.parametrize("size", [0, 100, 50_000])
    def test_what_is_no_pex_is_refused(self, artifact: Artifact, tmp_path: Path, size: int) -> None:
        (tmp_path / "half.pex").write_bytes(artifact.path.read_bytes()[:size])
        with pytest.raises(VerificationError, match=r"half\.pex is not a sound pex"):
            read(tmp_path / "half.pex")


def run(pex: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The pex on a host with a Python and nothing else: no network, no pip, all of it read-only but /tmp."""
    root = small_stage.runner().root
    argv = [
        *(
            "bwrap",
            "--unshare-all",
            "--clearenv",
            "--ro-bind",
            str(root),
            "/",
            "--dev",
            "/dev",
            "--proc",
            "/proc",
        ),
        *("--tmpfs", "/usr/lib/python3", "--tmpfs", "/usr/share/python-wheels", "--tmpfs", "/tmp"),
        *(
            "--ro-bind",
            str(pex.parent),
            "/opt",
            "--setenv",
            "PATH",
            "/usr/bin:/bin",
            "--setenv",
            "HOME",
            "/home",
        ),
        *(part for name, value in environment.items() for part in ("--setenv", name, value)),
        *("--", f"/opt/{pex.name}", *arguments),
    ]
    return subprocess.run(argv, capture_output=True, text=True, check=True)


@pytest.mark.integration
class TestRunning:
    def test_it_runs_with_a_read_only_home_and_no_pip(self, artifact: Artifact) -> None:
        done = run(artifact.path, "a", "b")
        assert done.stdout == "tinyapp click &lt; a b\n"
        assert "falling back to a temporary PEX_ROOT" in done.stderr

    def test_it_says_nothing_when_it_has_a_place_for_its_venv(self, artifact: Artifact) -> None:
        done = run(artifact.path, PEX_ROOT="/tmp/pex")
        assert (done.stdout, done.stderr) == ("tinyapp click &lt;\n", "")
