from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from buildonce import compile, wheels  # noqa: A004 - the module is named for what it does
from buildonce.errors import BuildError, VerificationError
from buildonce.model import Chosen, Command, Outcome, RemoteFile, Wheel
from buildonce.system import files
from buildonce.system.store import Store
from tests import backends
from tests.builders import small_stage

pytestmark = pytest.mark.integration

SETUPTOOLS = backends.REQUIREMENTS["greet-setuptools"]


class Broken:
    """A build root in which nothing can run."""

    def run(self, command: Command, *, log: Path | None = None, check: bool = True) -> Outcome:
        pytest.fail(f"{command.argv} was run")


def _project(name: str, tmp_path: Path, store: Store) -> tuple[Path, Path]:
    return _built(
        backends.checkout(name, tmp_path),
        backends.environment(backends.REQUIREMENTS[name], store),
        tmp_path / "out",
        log=tmp_path / "log" / "wheel.log",
    )


def _built(clone: Path, env: Path, into: Path, *, log: Path | None = None) -> tuple[Path, Path]:
    """The wheel and the sdist of the project in *clone*."""
    runner, epoch = small_stage.runner(), backends.EPOCH
    sdist = compile.project_sdist(clone, env=env, runner=runner, epoch=epoch, into=into, log=log)
    return compile.project_wheel(sdist, env=env, runner=runner, epoch=epoch, into=into, log=log), sdist


@pytest.mark.parametrize("name", backends.REQUIREMENTS)
def test_every_backend_gives_the_same_bytes_twice(
    name: str, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another place, umask, time zone, modes and file times; and the sdist's wheel is the project's."""
    wheel, sdist = _project(name, tmp_path / "one", store)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    before = os.umask(0o077)
    try:
        clone = backends.checkout(name, tmp_path / "a longer way to it" / "two")
        for path in clone.rglob("*"):
            os.utime(path, (1, 1), follow_symlinks=False)
        another = Store(tmp_path / "another store")
        env = backends.environment(backends.REQUIREMENTS[name], another, small_stage.runner())
        again_wheel, again_sdist = _built(clone, env, tmp_path / "out")
    finally:
        os.umask(before)
    assert (wheel.name, sdist.name) == (again_wheel.name, again_sdist.name)
    assert files.sha256_file(wheel) == files.sha256_file(again_wheel)
    assert files.sha256_file(sdist) == files.sha256_file(again_sdist)

    facts = wheels.admit(wheel)
    module = name.replace("-", "_")
    assert facts.scripts == (name,)
    assert facts.version.startswith("1.4.1.dev1+g") if name.endswith(("-scm", "-vcs")) else facts.version == "1.4.0"
    assert sdist.name == f"{module}-{facts.version}.tar.gz"
    with zipfile.ZipFile(wheel) as archive:
        assert {f"{module}/__init__.py", f"{module}/cli.py", f"{module}/data.txt"} <= set(archive.namelist())
    with tarfile.open(sdist) as archive_:
        assert {m.mtime for m in archive_} == {backends.EPOCH}
    assert sorted(p.name for p in (tmp_path / "one" / "out").iterdir()) == sorted([wheel.name, sdist.name])


def test_wheel_is_built_from_the_sdist(tmp_path: Path, store: Store) -> None:
    """What the sdist leaves out cannot be in the wheel."""
    clone = backends.checkout("greet-hatchling", tmp_path)
    with (clone / "pyproject.toml").open("a") as out:
        out.write('\n[tool.hatch.build.targets.sdist]\nexclude = ["data.txt"]\n')
    wheel, _ = _built(clone, backends.environment(backends.REQUIREMENTS["greet-hatchling"], store), tmp_path / "out")
    with zipfile.ZipFile(wheel) as archive:
        assert "greet_hatchling/data.txt" not in archive.namelist()


@pytest.mark.parametrize("name", ["greet-setuptools-scm", "greet-hatch-vcs"])
def test_version_from_git_belongs_to_the_commit(name: str, tmp_path: Path, store: Store) -> None:
    env = backends.environment(backends.REQUIREMENTS[name], store)
    clone = backends.checkout(name, tmp_path)
    before = sorted(clone.rglob("*"))
    if os.geteuid() == 0:  # git refuses a repository of another user: the backend, user 0, must not trip over that
        for path in [clone, clone / ".git", *(clone / ".git").rglob("*")]:
            os.chown(path, 65534, 65534)
    _, sdist = _built(clone, env, tmp_path / "out")
    assert compile.sdist_version(sdist).startswith("1.4.1.dev1+g")
    assert sorted(clone.rglob("*")) == before, "the clone was changed"
    tagged = backends.checkout(name, tmp_path / "tagged", commits=1)
    assert compile.sdist_version(_built(tagged, env, tmp_path / "out")[1]) == "1.4.0"


def test_an_sdist_without_a_version_in_its_name(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="wrong file name"):
        compile.sdist_version(tmp_path / "latest.tar.gz")


def test_project_that_does_not_build_leaves_no_wheel(tmp_path: Path, store: Store) -> None:
    clone = backends.checkout("greet-hatchling", tmp_path)
    shutil.rmtree(clone / "src")
    env = backends.environment(backends.REQUIREMENTS["greet-hatchling"], store)
    with pytest.raises(BuildError, match="building the wheel failed") as caught:
        _built(clone, env, tmp_path / "out", log=tmp_path / "wheel.log")
    assert "Unable to determine which files to ship" in caught.value.log
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["greet_hatchling-1.4.0.tar.gz"]


def test_wheel_and_sdist_that_disagree(tmp_path: Path, store: Store) -> None:
    """A version that is asked of git, without any in the sdist."""
    project = tmp_path / "odd"
    project.mkdir()
    (project / "pyproject.toml").write_text('[build-system]\nrequires = ["setuptools"]\n')
    (project / "setup.py").write_text(
        "import os, setuptools\n"
        "setuptools.setup(name='odd', version='1.0' if os.path.exists('.git') else '2.0', py_modules=[])\n"
    )
    (project / ".git").mkdir()
    with pytest.raises(BuildError, match=r"disagree: the wheel's name is odd 2\.0.*the sdist's name is odd 1\.0"):
        _built(project, backends.environment(SETUPTOOLS, store), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["odd-1.0.tar.gz"]


MODULE = """
#include <Python.h>
INCLUDE
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "tinyc", __FILE__, -1, NULL};
PyMODINIT_FUNC PyInit_tinyc(void) { return PyModule_Create(&definition); }
"""


def _sdist(tmp_path: Path, *, include: str = "", setup: str = "", version: str = "1.0") -> tuple[Chosen, Path]:
    """An sdist with a C extension."""
    folder = tmp_path / "source" / f"tinyc-{version}"
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    )
    (folder / "setup.py").write_text(
        f"{setup}\nfrom setuptools import Extension, setup\n"
        "setup(name='tinyc', version='1.0', ext_modules=[Extension('tinyc', ['tinyc.c'])], py_modules=[])\n"
    )
    (folder / "tinyc.c").write_text(MODULE.replace("INCLUDE", include))
    path = backends.sdist_of(folder, tmp_path / "sdists")
    file = RemoteFile(filename=path.name, sha256=files.sha256_file(path))
    return Chosen(name="tinyc", version=version, file=file), path


def _compile(
    chosen: Chosen, path: Path, tmp_path: Path, store: Store, *, runner: object = None, **more: object
) -> Wheel:
    return compile.sdist(
        chosen,
        path,
        env=backends.environment(SETUPTOOLS, store),
        runner=runner or small_stage.runner(),  # type: ignore[arg-type]
        store=store,
        log=tmp_path / "log" / "compile.log",
        **{"target": backends.TARGET, "root_key": "root", **more},  # type: ignore[arg-type]
    )


def test_compiled_wheel_names_its_target_and_hides_its_origin(tmp_path: Path, store: Store) -> None:
    chosen, path = _sdist(tmp_path)
    made = _compile(chosen, path, tmp_path, store)
    assert made.filename == "tinyc-1.0-1deb12-cp311-cp311-linux_x86_64.whl"
    assert (made.name, made.version, made.sdist) == ("tinyc", "1.0", chosen.file)
    assert made.sha256 == files.sha256_file(made.path)
    assert wheels.admit(made.path).version == "1.0"
    with zipfile.ZipFile(made.path) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".so"))
        code = archive.read(name)
    assert b"tinyc.c" in code, "__FILE__ is in it"
    assert b"/build" not in code
    assert b".debug_info" not in code
    said = (tmp_path / "log" / "compile.log").read_text()
    assert "-O2" in said


def test_compiled_wheel_is_the_same_in_another_store(tmp_path: Path, store: Store) -> None:
    chosen, path = _sdist(tmp_path)
    first = _compile(chosen, path, tmp_path, store)
    before = os.umask(0o077)
    try:
        second = _compile(chosen, path, tmp_path, Store(tmp_path / "another" / "store"))
    finally:
        os.umask(before)
    assert first.path != second.path
    assert first.sha256 == second.sha256


def test_compiled_wheel_is_kept_for_the_same_inputs_only(tmp_path: Path, store: Store) -> None:
    chosen, path = _sdist(tmp_path)
    made = _compile(chosen, path, tmp_path, store)
    assert _compile(chosen, path, tmp_path, store, runner=Broken()) == made
    other_target = replace(backends.TARGET, name="debian-99", revision="+deb99")
    for changed in ({"root_key": "other"}, {"apt": ("libpq-dev",)}, {"target": other_target}):
        with pytest.raises(pytest.fail.Exception, match="was run"):
            _compile(chosen, path, tmp_path, store, runner=Broken(), **changed)


def test_another_revision_under_one_name_of_a_target_is_another_wheel(tmp_path: Path, store: Store) -> None:
    """Two projects may each call a target of their own the same."""
    chosen, path = _sdist(tmp_path)
    names = [
        _compile(chosen, path, tmp_path, store, target=replace(backends.TARGET, revision=revision)).filename
        for revision in ("+corp1", "+corp2")
    ]
    assert [name.split("-")[2] for name in names] == ["1corp1", "1corp2"]


def test_changed_wheel_in_the_store_is_compiled_again(tmp_path: Path, store: Store) -> None:
    chosen, path = _sdist(tmp_path)
    made = _compile(chosen, path, tmp_path, store)
    made.path.write_bytes(b"tampered")
    assert _compile(chosen, path, tmp_path, store) == made
    assert files.sha256_file(made.path) == made.sha256


def test_missing_header_names_the_package(tmp_path: Path, store: Store) -> None:
    chosen, path = _sdist(tmp_path, include="#include <xmlsec/xmlsec.h>")
    with pytest.raises(BuildError) as caught:
        _compile(chosen, path, tmp_path, store)
    problem = caught.value.problems[0]
    assert problem.message == "tinyc 1.0 does not compile for debian-12: xmlsec/xmlsec.h is missing"
    assert problem.where == "tinyc-1.0.tar.gz"
    assert 'apt = ["libxmlsec1-dev"]' in problem.hint
    assert "[tool.release.build.tinyc]" in problem.hint
    assert "fatal error: xmlsec/xmlsec.h" in caught.value.log
    assert "fatal error: xmlsec/xmlsec.h" in Path(caught.value.log_path).read_text()
    assert not list((store.root / "compiled").glob("*/*.whl"))


def test_error_of_the_program_itself_shows_its_words(tmp_path: Path, store: Store) -> None:
    chosen, path = _sdist(tmp_path, include="int broken(void) { return")
    with pytest.raises(BuildError, match=r"tinyc 1\.0 does not compile for debian-12") as caught:
        _compile(chosen, path, tmp_path, store)
    assert "error: expected" in caught.value.log


def test_build_that_wants_to_download(tmp_path: Path, store: Store) -> None:
    setup = "import socket\nsocket.getaddrinfo('example.org', 443)"
    chosen, path = _sdist(tmp_path, setup=setup)
    with pytest.raises(BuildError, match="it tried to download something"):
        _compile(chosen, path, tmp_path, store)


def test_sdist_of_something_else(tmp_path: Path, store: Store) -> None:
    chosen, path = _sdist(tmp_path, version="1.1")
    with pytest.raises(BuildError, match=r"the sdist of tinyc 1\.1 built tinyc 1\.0"):
        _compile(chosen, path, tmp_path, store)


def test_hostile_sdist_is_refused_before_anything_runs(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "evil-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../evil"))
    chosen = Chosen(name="evil", version="1.0", file=RemoteFile(filename=path.name, sha256=files.sha256_file(path)))
    with pytest.raises(VerificationError, match="leads outside"):
        _compile(chosen, path, tmp_path, store, runner=Broken())
