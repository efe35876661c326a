"""A project with a C extension of its own for two Pythons: a wheel for each target, from one sdist."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration import hosts
from tests.integration.conftest import Built, repository

if TYPE_CHECKING:
    from tests.integration.conftest import Example

OLD, NEW = "debian-12", "debian-13"
FILES = {
    "pyproject.toml": f"""\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "speedy"
version = "1.4.0"
requires-python = ">=3.11"

[project.scripts]
speedy = "speedy:main"

[tool.setuptools]
packages = ["speedy"]
ext-modules = [{{ name = "speedy._fast", sources = ["speedy/fast.c"] }}]

[tool.release]
formats = ["wheel", "pex", "deb"]
targets = ["{OLD}", "{NEW}"]
""",
    "speedy/__init__.py": "from speedy import _fast\n\n\ndef main():\n    print(_fast.python())\n",
    "speedy/fast.c": """\
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyObject *python(PyObject *self, PyObject *none) { return PyUnicode_FromString("compiled for " PY_VERSION); }
static PyMethodDef methods[] = {{"python", python, METH_NOARGS, ""}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef fast = {PyModuleDef_HEAD_INIT, "_fast", "", -1, methods};
PyMODINIT_FUNC PyInit__fast(void) { return PyModule_Create(&fast); }
""",
}


@pytest.fixture(scope="module")
def speedy(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Example:
    root = tmp_path_factory.mktemp("speedy") / "speedy"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return repository(root, XDG_CONFIG_HOME=str(home))


@pytest.fixture(scope="module")
def built(speedy: Example) -> Built:
    data = speedy.release("build")
    return Built(Path(data["dir"]), data)


def test_each_target_has_its_wheel(speedy: Example, built: Built) -> None:
    rows = {(row["format"], row["target"]): row["file"] for row in built.data["artifacts"]}
    for target, tag in ((OLD, "cp311"), (NEW, "cp313")):
        assert rows["wheel", target] == f"speedy-1.4.0-{tag}-{tag}-linux_x86_64.whl"
    assert [file for kind, file in ((kind, file) for (kind, _), file in rows.items()) if kind == "sdist"] == [
        "speedy-1.4.0.tar.gz"
    ]
    done = speedy.run("verify", str(built.folder))
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def bundle(speedy: Example, built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stick") / "speedy.tar"
    speedy.release("bundle", str(built.folder), "--out", str(out))
    return out


@pytest.mark.parametrize(("target", "python"), [(OLD, "3.11"), (NEW, "3.13")])
def test_each_host_runs_what_was_compiled_for_it(bundle: Path, public_key: Path, target: str, python: str) -> None:
    """From one bundle, that has a suite for each."""
    with hosts.running(hosts.HOSTS[target].tag(), target=target, command=hosts.IDLE, init=True) as host:
        assert host.too_much() == ""
        key = host.put(public_key.with_suffix(".gpg"), "/etc/trust")
        stick = host.put(bundle, "/media")
        host.run("tar", "-xf", stick, "-C", "/srv")
        host.run("sh", "/srv/speedy-1.4.0/install.sh", "--key", key, "deb")
        assert host.run("speedy", user="nobody").startswith(f"compiled for {python}.")
        host.run("sh", "/srv/speedy-1.4.0/install.sh", "--key", key, "pex", "/srv/bin/speedy.pex", target)
        assert host.run("/srv/bin/speedy.pex").startswith(f"compiled for {python}.")
