from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from buildonce import buildenv
from buildonce.errors import BuildError
from buildonce.model import Command, Outcome
from tests import backends
from tests.builders import small_stage

if TYPE_CHECKING:
    from buildonce.system.store import Store

pytestmark = pytest.mark.integration

# A backend of the project itself that reports what it sees, in place of an sdist.
REPORTING = """
import json, os, socket, sys
from pathlib import Path


def build_sdist(folder, settings=None):
    if Path("broken").exists():
        raise OSError("no sdist today")
    print("the backend talks on stdout")
    def can(what):
        try:
            what()
        except Exception as error:
            return type(error).__name__
        return "yes"
    report = {
        "environment": dict(os.environ),
        "uid": os.getuid(),
        "cwd": os.getcwd(),
        "umask": os.umask(0o022),
        "source": [
            [p.name, oct(p.stat().st_mode & 0o777), int(p.stat().st_mtime)] for p in sorted(Path().iterdir())
        ],
        "network": can(lambda: socket.create_connection(("192.0.2.1", 80), 1)),
        "frontend": can(lambda: __import__("build")),
        "write": can(lambda: Path("left-behind").write_text("x")),
        "prefix": sys.prefix,
    }
    Path(folder, "report.json").write_text(json.dumps(report))
    return "report.json"


def build_wheel(folder, settings=None, metadata=None):
    sys.exit("it broke here")


def get_requires_for_build_wheel(settings=None):
    return ["numpy>=2", "cython"]
"""


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    """A project with that backend, with modes and times of somebody's machine."""
    root = tmp_path / "seen"
    root.mkdir()
    (root / "backend.py").write_text(REPORTING)
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (root / "tool.sh").write_text("#!/bin/sh\n")
    (root / "tool.sh").chmod(0o700)
    (root / "backend.py").chmod(0o600)
    return root


def _report(seen: Path, tmp_path: Path, store: Store) -> Any:
    return json.loads((tmp_path / "out" / _call("sdist", seen, tmp_path, store)).read_text())


def _call(hook: buildenv.Hook, source: Path, tmp_path: Path, store: Store, **more: Any) -> Any:
    return json.loads(
        buildenv.call(
            hook,
            env=more.pop("env", None) or backends.environment((), store),
            source=source,
            out=tmp_path / "out",
            runner=small_stage.runner(),
            environment={"SOURCE_DATE_EPOCH": str(backends.EPOCH)},
            log=tmp_path / "log" / "call.log",
            **more,
        )
    )


def test_what_a_backend_sees_is_the_same_on_every_machine(seen: Path, tmp_path: Path, store: Store) -> None:
    report = _report(seen, tmp_path, store)
    found = report["environment"]
    assert found["SOURCE_DATE_EPOCH"] == str(backends.EPOCH)
    assert found["PATH"].startswith("/build/env/bin:")
    assert found["RUSTFLAGS"] == "--remap-path-prefix=/build=."
    assert found["GOFLAGS"] == "-trimpath"
    assert (report["uid"], report["umask"], report["cwd"], report["prefix"]) == (
        0,
        0o022,
        "/build/src",
        "/build/env",
    )
    assert report["source"] == [
        ["backend.py", "0o644", backends.EPOCH],
        ["pyproject.toml", "0o644", backends.EPOCH],
        ["tool.sh", "0o755", backends.EPOCH],
    ]
    assert report["network"] == "OSError"
    assert report["frontend"] == "ModuleNotFoundError"
    assert report["write"] == "yes"
    assert not (seen / "left-behind").exists()
    assert "the backend talks on stdout" in (tmp_path / "log" / "call.log").read_text()


@pytest.mark.parametrize("name", ["CFLAGS", "CXXFLAGS"])
def test_compiler_flags_keep_those_of_the_interpreter(name: str, seen: Path, tmp_path: Path, store: Store) -> None:
    report = _report(seen, tmp_path, store)
    flags = report["environment"][name].split()
    assert "-O2" in flags
    assert "-fstack-protector-strong" in flags
    assert flags[-2:] == ["-g0", "-ffile-prefix-map=/build=."]


def test_requirements_that_the_backend_adds(seen: Path, tmp_path: Path, store: Store) -> None:
    assert _call("requires_for_wheel", seen, tmp_path, store) == ["cython", "numpy>=2"]
    assert _call("requires_for_sdist", seen, tmp_path, store) == []


def test_failure_names_step_and_shows_the_end_of_the_log(seen: Path, tmp_path: Path, store: Store) -> None:
    (seen / "broken").touch()
    with pytest.raises(BuildError, match="building the sdist failed") as caught:
        _call("sdist", seen, tmp_path, store)
    assert "no sdist today" in caught.value.log
    assert "no sdist today" in Path(caught.value.log_path).read_text()


def test_failure_with_a_missing_requirement_names_it(seen: Path, tmp_path: Path, store: Store) -> None:
    with pytest.raises(BuildError, match="the locked build environment has no cython; numpy>=2") as caught:
        _call("wheel", seen, tmp_path, store)
    assert "release lock" in caught.value.problems[0].hint


def test_backend_that_is_not_locked(tmp_path: Path, store: Store) -> None:
    clone = backends.checkout("greet-hatch-vcs", tmp_path)
    env = backends.environment(backends.REQUIREMENTS["greet-hatchling"], store)
    with pytest.raises(BuildError, match="the locked build environment has no hatch-vcs"):
        _call("wheel", clone, tmp_path, store, env=env)


def test_source_without_a_project(tmp_path: Path, store: Store) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BuildError, match="building the wheel failed") as caught:
        _call("wheel", tmp_path / "empty", tmp_path, store)
    assert "does not appear to be a Python project" in caught.value.log


def test_environment_is_made_once_and_named_by_what_it_holds(store: Store) -> None:
    flit = backends.environment(backends.REQUIREMENTS["greet-flit"], store)
    assert (flit / "bin" / "python").readlink() == Path("/usr/bin/python3.11")
    assert (flit / "lib/python3.11/site-packages/flit_core/__init__.py").is_file()
    made = (flit / "pyvenv.cfg").stat().st_mtime_ns
    assert backends.environment(backends.REQUIREMENTS["greet-flit"], store) == flit
    assert (flit / "pyvenv.cfg").stat().st_mtime_ns == made
    poetry = backends.environment(backends.REQUIREMENTS["greet-poetry"], store)
    assert buildenv.key(poetry) != buildenv.key(flit)


def test_changed_environment_is_made_again(store: Store) -> None:
    env = backends.environment(backends.REQUIREMENTS["greet-flit"], store)
    module = env / "lib/python3.11/site-packages/flit_core/__init__.py"
    good = module.read_bytes()
    module.write_text("raise SystemExit('tampered')\n")
    assert backends.environment(backends.REQUIREMENTS["greet-flit"], store) == env
    assert module.read_bytes() == good


def test_environment_with_bytecode(store: Store) -> None:
    env = backends.environment(backends.REQUIREMENTS["greet-flit"], store, small_stage.runner())
    assert list(env.rglob("flit_core/__pycache__/__init__.cpython-311.pyc"))


def test_interpreter_of_the_environment_is_the_only_one_that_runs(store: Store, seen: Path, tmp_path: Path) -> None:
    """What is run is data: fixed paths only, so that nothing of this machine can be in object code."""
    commands: list[Command] = []

    class Recorder:
        def run(self, command: Command, *, log: Path | None = None, check: bool = True) -> Outcome:
            commands.append(command)
            return Outcome(returncode=0, stdout=b'"x"')

    buildenv.call(
        "wheel",
        env=backends.environment((), store),
        source=seen,
        out=tmp_path / "out",
        runner=Recorder(),
        environment={},
        log=None,
    )
    (command,) = commands
    told = textwrap.dedent(" ".join([*command.argv, command.cwd, *(f"{k}={v}" for k, v in command.environment)]))
    assert str(tmp_path) not in told
    assert command.argv == ("/build/env/bin/python", "-I", "/build/hook.py", "wheel")
