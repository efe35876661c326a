"""Laying wheels: places, modes, scripts and RECORD; and reading the same out of a wheel without laying it."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import stat
import subprocess
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildonce import install
from buildonce.errors import BuildError, VerificationError
from tests import wheelmaker
from tests.rooms import HERE, Room

if TYPE_CHECKING:
    from buildonce.model import Entry

PREFIX = PurePosixPath("/opt/venvs/orders")
SITE = "opt/venvs/orders/lib/python3.11/site-packages"
FILES: dict[str, str | bytes] = {
    "orders/__init__.py": "def main(): print('hello')\n",
    "orders/tool.sh": "#!/bin/sh\n",
    "orders/__pycache__/old.cpython-311.pyc": b"stale",
    "orders-1.0.data/scripts/helper": "#!python -s\nprint(1)\n",
    "orders-1.0.data/scripts/binary": b"\x7fELF...",
    "orders-1.0.data/data/share/orders/words.txt": "words\n",
    "orders-1.0.data/headers/orders.h": "int x;\n",
    "orders-1.0.data/purelib/pure.py": "y = 2\n",
    "orders-1.0.data/platlib/plat.py": "z = 3\n",
    "orders-1.0.dist-info/direct_url.json": "{}",
    "orders-1.0.dist-info/REQUESTED": "",
    "orders-1.0.dist-info/INSTALLER": "pip\n",
}
MODES = {"orders/tool.sh": 0o100755, "orders/__init__.py": 0o100600}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return wheelmaker.make(tmp_path / "wheels", FILES, scripts={"orders": "orders:main"}, modes=MODES)


def lay(wheel: Path, into: Path) -> tuple[Entry, ...]:
    return install.lay(wheel, prefix=PREFIX, python_minor="3.11", into=into, dist="orders")


def seen(into: Path) -> dict[str, tuple[int, str]]:
    """Every file below *into*: mode and sha256, as the file system has them."""
    return {
        str(path.relative_to(into)): (
            stat.S_IMODE(path.stat().st_mode),
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in into.rglob("*")
        if path.is_file()
    }


def test_every_file_has_its_place_and_mode(wheel: Path, tmp_path: Path) -> None:
    entries = lay(wheel, tmp_path / "root")
    info = f"{SITE}/orders-1.0.dist-info"
    assert {entry.path: (entry.kind, entry.mode) for entry in entries} == {
        f"{SITE}/orders/__init__.py": ("file", 0o644),
        f"{SITE}/orders/tool.sh": ("file", 0o755),
        f"{SITE}/pure.py": ("file", 0o644),
        f"{SITE}/plat.py": ("file", 0o644),
        f"{info}/METADATA": ("file", 0o644),
        f"{info}/WHEEL": ("file", 0o644),
        f"{info}/entry_points.txt": ("file", 0o644),
        f"{info}/INSTALLER": ("record", 0o644),
        f"{info}/RECORD": ("record", 0o644),
        "opt/venvs/orders/bin/orders": ("script", 0o755),
        "opt/venvs/orders/bin/helper": ("script", 0o755),
        "opt/venvs/orders/bin/binary": ("script", 0o755),
        "opt/venvs/orders/share/orders/words.txt": ("file", 0o644),
        "opt/venvs/orders/include/site/python3.11/orders/orders.h": ("file", 0o644),
    }
    assert list(entries) == sorted(entries)
    assert {entry.dist for entry in entries} == {"orders"}
    assert seen(tmp_path / "root") == {entry.path: (entry.mode, entry.sha256) for entry in entries}
    assert (tmp_path / "root" / info / "INSTALLER").read_text() == "buildonce\n"


def test_scripts_start_the_environments_python(wheel: Path, tmp_path: Path) -> None:
    lay(wheel, tmp_path)
    scripts = tmp_path / "opt/venvs/orders/bin"
    assert (scripts / "orders").read_text().startswith("#!/opt/venvs/orders/bin/python\n")
    assert (scripts / "helper").read_text() == "#!/opt/venvs/orders/bin/python\nprint(1)\n"
    assert (scripts / "binary").read_bytes() == b"\x7fELF..."


def test_record_is_true_complete_and_sorted(wheel: Path, tmp_path: Path) -> None:
    lay(wheel, tmp_path)
    site = tmp_path / SITE
    text = (site / "orders-1.0.dist-info/RECORD").read_bytes()
    assert b"\r" not in text
    rows = list(csv.reader(io.StringIO(text.decode())))
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert {os.path.normpath(site / row[0]) for row in rows} == {
        str(path) for path in tmp_path.joinpath("opt").rglob("*") if path.is_file()
    }
    for name, digest, size in rows:
        if name != "orders-1.0.dist-info/RECORD":
            data = (site / name).read_bytes()
            expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            assert (digest, size) == (f"sha256={expected}", str(len(data)))
    assert ["orders-1.0.dist-info/RECORD", "", ""] in rows


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_umask_changes_nothing(umask: int, wheel: Path, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        entries = lay(wheel, tmp_path / "root")
        install.environment(prefix=PREFIX, target=HERE, into=tmp_path / "root")
    finally:
        os.umask(before)
    assert entries == lay(wheel, tmp_path / "other")
    folders = [path for path in (tmp_path / "root" / "opt").rglob("*") if path.is_dir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o755}
    assert all(mode in (0o644, 0o755) for mode, _ in seen(tmp_path / "root").values())


def test_carried_is_what_is_laid(wheel: Path, tmp_path: Path) -> None:
    laid = tuple(entry for entry in lay(wheel, tmp_path / "root") if entry.kind != "record")
    assert install.carried(wheel, prefix=PREFIX, python_minor="3.11") == laid
    with wheel.open("rb") as stream:
        assert install.carried(stream, prefix=PREFIX, python_minor="3.11") == laid
    nameless = io.BytesIO(wheel.read_bytes())
    assert install.carried(nameless, prefix=str(PREFIX), python_minor="3.11") == laid


_names = st.from_regex(r"[a-z]{1,6}(/[a-z]{1,6}){0,2}\.(py|txt)", fullmatch=True)


@settings(max_examples=40, deadline=None)
@given(
    files=st.dictionaries(_names, st.tuples(st.binary(max_size=40), st.sampled_from([0o100644, 0o100755, 0, 0o755]))),
)
def test_laying_and_carrying_agree_for_any_wheel(files: dict[str, tuple[bytes, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        modes = {name: mode for name, (_, mode) in files.items()}
        wheel = wheelmaker.make(Path(folder), {name: data for name, (data, _) in files.items()}, modes=modes)
        laid = lay(wheel, Path(folder, "root"))
        assert seen(Path(folder, "root")) == {entry.path: (entry.mode, entry.sha256) for entry in laid}
        carried = install.carried(wheel, prefix=PREFIX, python_minor="3.11")
        assert carried == tuple(entry for entry in laid if entry.kind != "record")


def test_a_file_that_is_there_already_is_an_error(wheel: Path, tmp_path: Path) -> None:
    lay(wheel, tmp_path)
    with pytest.raises(BuildError, match="bin/orders") as error:
        lay(wheel, tmp_path)
    assert error.value.problems[0].hint


@pytest.mark.parametrize("lie", ["no zip at all", "cut off", "two .dist-info folders", "a path goes up"])
def test_what_is_no_wheel_is_told(lie: str, tmp_path: Path) -> None:
    path = wheelmaker.LIES[lie](tmp_path)
    with pytest.raises(VerificationError, match=path.name):
        install.carried(path, prefix=PREFIX, python_minor="3.11")
    with pytest.raises(VerificationError, match=path.name):
        lay(path, tmp_path / "root")
    assert not (tmp_path.parent / "escape.py").exists()


def test_the_environment_runs_and_finds_its_modules(wheel: Path, tmp_path: Path) -> None:
    prefix = PurePosixPath(tmp_path / "opt/venvs/orders")
    entries = install.environment(prefix=prefix, target=HERE, into=Path("/"))
    names = {entry.path.rsplit("/", 1)[-1]: entry.link for entry in entries}
    assert names == {
        "pyvenv.cfg": "",
        "python": str(HERE.interpreter),
        "python3": "python",
        f"python{HERE.python_minor}": "python",
    }
    assert Path(prefix, "pyvenv.cfg").read_text() == (
        f"home = {HERE.interpreter.parent}\ninclude-system-site-packages = false\nversion = {HERE.python}\n"
    )
    install.lay(wheel, prefix=prefix, python_minor=HERE.python_minor, into=Path("/"), dist="orders")
    done = subprocess.run([str(prefix / "bin/orders")], capture_output=True, text=True, check=True)
    assert done.stdout == "hello\n"
    assert Room().commands == []
