"""The door: wheels that lie stay out, honest ones come in; tags, Python and requirements of a target."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildonce import install, target, wheels
from buildonce.errors import VerificationError
from tests import wheelmaker

if TYPE_CHECKING:
    from collections.abc import Callable

DEBIAN = target.load("debian-12")
PREFIX = "/opt/venvs/orders"


def test_an_honest_wheel_comes_in(tmp_path: Path) -> None:
    path = wheelmaker.make(
        tmp_path,
        {
            "orders/__init__.py": "def main(): ...\n",
            "orders-1.0.data/scripts/helper": "#!python\n",
            "orders/ümlaut.txt": "x",
        },
        scripts={"orders": "orders:main", "orders-admin": "orders.admin:App.run [extra]"},
        requires=["click>=8"],
        requires_python=">=3.9",
    )
    facts = wheels.admit(path)
    assert (facts.name, facts.version, facts.filename) == ("orders", "1.0", path.name)
    assert facts.scripts == ("orders", "orders-admin")
    assert facts.entry_points[1] == wheels.Script(name="orders-admin", module="orders.admin", attribute="App.run")
    assert facts.requires_dist == ("click>=8",)
    assert facts.requires_python == ">=3.9"
    assert facts.root_is_purelib
    assert {str(tag) for tag in facts.tags} == {"py3-none-any"}
    assert facts.startup == ()
    assert wheels.facts(path) == facts


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_names_and_versions_are_compared_normalised(tmp_path: Path, method: int) -> None:
    members = wheelmaker.contents(name="Orders.App", version="1.0.0")
    path = wheelmaker.write(tmp_path / "orders_app-1.0-py3-none-any.whl", members, method=method)
    assert wheels.admit(path).name == "orders-app"


def test_a_stream_written_zip_comes_in(tmp_path: Path) -> None:
    """Sizes in data descriptors after the members, as a zip written to a pipe has them."""
    path = tmp_path / "orders-1.0-py3-none-any.whl"

    class Pipe:
        def __init__(self) -> None:
            self.data = b""

        def write(self, data: bytes) -> int:
            self.data += data
            return len(data)

        def flush(self) -> None: ...

        def close(self) -> None: ...

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in wheelmaker.contents().items():
            archive.writestr(name, data)
    path.write_bytes(pipe.data)
    assert wheels.admit(path).name == "orders"


def test_a_zip64_wheel_comes_in(tmp_path: Path) -> None:
    """More members than 16 bits count, and a member written as large."""
    files = {f"orders/m{number}.py": "" for number in range(66_000)}
    path = wheelmaker.make(tmp_path, files)
    assert wheels.admit(path).name == "orders"
    large = tmp_path / "large" / path.name
    large.parent.mkdir()
    with zipfile.ZipFile(large, "w") as archive:
        for name, data in wheelmaker.contents().items():
            with archive.open(name, "w", force_zip64=True) as stream:
                stream.write(data)
    assert wheels.admit(large).name == "orders"


@pytest.mark.parametrize("lie", wheelmaker.LIES)
def test_a_wheel_that_lies_stays_out(lie: str, tmp_path: Path) -> None:
    path = wheelmaker.LIES[lie](tmp_path)
    with pytest.raises(VerificationError) as refused:
        wheels.admit(path)
    problem = refused.value.problems[0]
    assert path.name in problem.message
    assert path.name in problem.where
    assert problem.hint
    assert problem.message.isprintable()


@pytest.mark.parametrize(
    ("lie", "member"),
    [
        ("a file is not what RECORD says", "orders/__init__.py"),
        ("a file is not in RECORD", "orders/extra.py"),
        ("a path goes up", "../../escape.py"),
        ("a .pth file runs code", "evil.pth"),
        ("RECORD lists what is not there", "orders/gone.py"),
        ("another name in METADATA", "orders-1.0.dist-info/METADATA"),
        ("a symbolic link", "orders/link"),
    ],
)
def test_the_refusal_names_the_member(lie: str, member: str, tmp_path: Path) -> None:
    with pytest.raises(VerificationError) as refused:
        wheels.admit(wheelmaker.LIES[lie](tmp_path))
    assert member in refused.value.problems[0].where


def test_all_lies_of_a_record_are_told(tmp_path: Path) -> None:
    members = wheelmaker.contents({"orders/a.py": "1", "orders/b.py": "2"})
    members |= {"orders/a.py": b"!", "orders/b.py": b"?"}
    with pytest.raises(VerificationError) as refused:
        wheels.admit(wheelmaker.write(tmp_path / "orders-1.0-py3-none-any.whl", members))
    assert [problem.where.split(": ")[1] for problem in refused.value.problems] == [
        "orders/a.py",
        "orders/b.py",
    ]


def test_startup_files_can_be_allowed_by_name(tmp_path: Path) -> None:
    path = wheelmaker.make(tmp_path, {"orders.pth": "import orders\n"})
    assert wheels.admit(path, allow_pth=frozenset({"orders"})).startup == ("orders.pth",)
    with pytest.raises(VerificationError, match=r"orders\.pth"):
        wheels.admit(path, allow_pth=frozenset({"other"}))


@pytest.mark.parametrize("default", ["local", "stdlib"])
def test_what_setuptools_ships_is_known_by_its_bytes(default: str, tmp_path: Path) -> None:
    line = (
        "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; "
        f"enabled = os.environ.get(var, '{default}') == 'local'; "
        "enabled and __import__('_distutils_hack').add_shim(); \n"
    )
    name, files = "setuptools", {"distutils-precedence.pth": line}
    assert wheels.admit(wheelmaker.make(tmp_path, files, name=name)).startup == ()
    with pytest.raises(VerificationError):
        wheels.admit(wheelmaker.make(tmp_path, {"distutils-precedence.pth": line + "import evil\n"}, name=name))


def test_a_pth_file_that_does_nothing_comes_in(tmp_path: Path) -> None:
    wheels.admit(wheelmaker.make(tmp_path, {"orders.pth": "# only words\n\n", "orders/data.pth": "import evil\n"}))


def _content(path: Path) -> set[tuple[str, str]]:
    entries = install.carried(path, prefix=PREFIX, python_minor="3.11")
    return {(entry.path, entry.sha256) for entry in entries}


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_changed_byte_is_refused_or_changes_nothing(data: st.DataObject) -> None:
    """Times and modes are free bytes of a zip; whatever else is changed must not come in."""
    with tempfile.TemporaryDirectory() as folder:
        path = wheelmaker.make(Path(folder), {"orders/__init__.py": "x = 1\n" * 20}, scripts={"orders": "orders:main"})
        honest, content = path.read_bytes(), _content(path)
        place = data.draw(st.integers(0, len(honest) - 1))
        value = data.draw(st.integers(0, 255))
        path.write_bytes(honest[:place] + bytes([value]) + honest[place + 1 :])
        assert not _admitted(path) or _content(path) == content


def _admitted(path: Path) -> bool:
    try:
        wheels.admit(path)
    except VerificationError:
        return False
    return True


@settings(max_examples=60, deadline=None)
@given(length=st.floats(0, 1, exclude_max=True))
def test_a_wheel_that_is_cut_off_is_refused(length: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = wheelmaker.make(Path(folder))
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * length)])
        with pytest.raises(VerificationError):
            wheels.admit(path)


@pytest.fixture
def facts(tmp_path: Path) -> Callable[..., wheels.WheelFacts]:
    def make(name: str, version: str = "1.0", **about: object) -> wheels.WheelFacts:
        return wheels.admit(wheelmaker.make(tmp_path, {}, name=name, version=version, **about))  # type: ignore[arg-type]

    return make


def test_fits(facts: Callable[..., wheels.WheelFacts]) -> None:
    assert (
        wheels.fits(facts("a", tag="cp311-cp311-manylinux_2_36_x86_64", requires_python=">=3.11,<3.12"), DEBIAN) == ()
    )
    (tag,) = wheels.fits(facts("a", tag="cp311-cp311-manylinux_2_37_x86_64"), DEBIAN)
    assert "a-1.0-cp311-cp311-manylinux_2_37_x86_64.whl" in tag.message
    assert "debian-12" in tag.message
    (python,) = wheels.fits(facts("a", requires_python=">=3.12"), DEBIAN)
    assert ">=3.12" in python.message
    assert python.hint


def test_closure(facts: Callable[..., wheels.WheelFacts]) -> None:
    markers = target.markers(DEBIAN)
    orders = facts("orders", requires=["Click >= 8", "colorama ; sys_platform == 'win32'", "rich ; extra == 'pretty'"])
    assert wheels.closure([orders, facts("click", "8.1")], markers) == ()
    (missing,) = wheels.closure([orders], markers)
    assert "Click>=8" in missing.message.replace(" ", "")
    (old,) = wheels.closure([orders, facts("click", "7.0")], markers)
    assert "7.0" in old.message
    assert old.hint


def test_closure_follows_the_extras_that_are_asked_for(facts: Callable[..., wheels.WheelFacts]) -> None:
    markers = target.markers(DEBIAN)
    found = [
        facts("orders", requires=["server[standard]"]),
        facts(
            "server",
            requires=[
                "loop ; extra == 'standard'",
                "server[tls] ; extra == 'standard'",
                "tls ; extra == 'tls'",
            ],
        ),
    ]
    messages = [problem.message for problem in wheels.closure(found, markers)]
    assert len(messages) == 2
    assert "loop" in messages[0]
    assert "tls" in messages[1]


def test_a_pre_release_in_the_lock_is_what_was_chosen(facts: Callable[..., wheels.WheelFacts]) -> None:
    found = [facts("orders", requires=["click>=8"]), facts("click", "9.0rc1")]
    assert wheels.closure(found, target.markers(DEBIAN)) == ()
