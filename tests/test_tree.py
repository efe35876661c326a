"""The Tree: planting with a real interpreter, the cache, clashes, and the difference of two listings."""

from __future__ import annotations

import base64
import csv
import dataclasses
import hashlib
import io
import marshal
import os
import shutil
import stat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildonce import install, target, tree
from buildonce.errors import BuildError
from buildonce.model import Digest, Entry, Tree, Wheel
from buildonce.system import files
from buildonce.system.store import Store
from tests import wheelmaker
from tests.builders import small_stage
from tests.rooms import HERE, Room

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from buildonce.model import Target
    from buildonce.protocols import Runner

ORDERS = {"orders/__init__.py": "def main(): return 'hello'\n", "orders/sub/deep.py": "import os\n"}
CLICK = {"click/__init__.py": "VERSION = '8'\n", "click/py2.py": "print 'old'\n", "click/nul.py": "a\0b\n"}


def wheel(into: Path, name: str, contents: Mapping[str, str | bytes], **about: object) -> Wheel:
    path = wheelmaker.make(into, contents, name=name, **about)  # type: ignore[arg-type]
    sha256 = files.sha256_file(path)
    return Wheel(name=name, version="1.0", path=path, sha256=sha256, size=path.stat().st_size)


@dataclasses.dataclass
class Garden:
    """A place to plant in: one store, one prefix, any number of trees."""

    path: Path
    store: Store
    runner: Runner
    prefix: PurePosixPath
    target: Target = HERE

    def plant(self, *wheels: Wheel, into: str = "tree") -> Tree:
        return tree.plant(
            wheels,
            target=self.target,
            prefix=self.prefix,
            runner=self.runner,
            store=self.store,
            into=self.path / into,
            root_key="root",
        )

    @property
    def site(self) -> str:
        return str(install.site_packages(self.prefix, self.target.python_minor)).lstrip("/")

    def seen(self, into: str = "tree") -> set[tuple[str, int, str]]:
        """Path, mode and content of every file, as the file system has them."""
        root = self.path / into
        return {_seen(path, root) for path in root.rglob("*") if path.is_symlink() or path.is_file()}


def _seen(path: Path, root: Path) -> tuple[str, int, str]:
    place = str(path.relative_to(root))
    if path.is_symlink():
        return place, 0o777, str(path.readlink())
    return place, stat.S_IMODE(path.stat().st_mode), files.sha256_file(path)


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def garden(tmp_path: Path, store: Store, room: Room) -> Garden:
    return Garden(tmp_path, store, room, PurePosixPath(tmp_path / "final/opt/venvs/orders"))


@pytest.fixture
def orders(tmp_path: Path) -> Wheel:
    return wheel(tmp_path / "wheels", "orders", ORDERS, scripts={"orders": "orders:main"})


@pytest.fixture
def click(tmp_path: Path) -> Wheel:
    return wheel(tmp_path / "wheels", "click", CLICK)


def test_the_tree_is_what_is_there(garden: Garden, orders: Wheel, click: Wheel) -> None:
    planted = garden.plant(orders, click)
    assert garden.seen() == {(e.path, e.mode, e.link or e.sha256) for e in planted.entries}
    assert list(planted.entries) == sorted(planted.entries)
    assert {entry.dist for entry in planted.entries} == {"", "orders", "click"}
    folders = [path for path in (garden.path / "tree").rglob("*") if path.is_dir() and not path.is_symlink()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o755}


def test_bytecode_is_unchecked_and_has_the_final_path(garden: Garden, orders: Wheel) -> None:
    planted = garden.plant(orders)
    pyc = {entry.path for entry in planted.entries if entry.kind == "bytecode"}
    tag = f"cpython-{HERE.python_minor.replace('.', '')}"
    assert pyc == {
        f"{garden.site}/orders/__pycache__/__init__.{tag}.pyc",
        f"{garden.site}/orders/sub/__pycache__/deep.{tag}.pyc",
    }
    for place in pyc:
        data = (garden.path / "tree" / place).read_bytes()
        assert int.from_bytes(data[4:8], "little") == 0b01  # PEP 552: hash-based, unchecked
        source = PurePosixPath(place).parent.parent / f"{PurePosixPath(place).name.split('.')[0]}.py"
        assert marshal.loads(data[16:]).co_filename == f"/{source}"


def test_what_does_not_compile_is_left_and_listed(garden: Garden, click: Wheel) -> None:
    planted = garden.plant(click)
    assert tree.uncompiled(planted) == (f"{garden.site}/click/nul.py", f"{garden.site}/click/py2.py")


@pytest.mark.parametrize("name", ["orders", "click"])
def test_record_is_true_and_complete(name: str, garden: Garden, orders: Wheel, click: Wheel) -> None:
    planted = garden.plant(orders, click)
    site = garden.path / "tree" / garden.site
    rows = list(csv.reader(io.StringIO((site / f"{name}-1.0.dist-info/RECORD").read_text())))
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    listed = {os.path.normpath(site / row[0]) for row in rows}
    assert listed == {str(garden.path / "tree" / entry.path) for entry in planted.of(name).entries}
    for place, digest, size in rows:
        if not place.endswith("/RECORD"):
            data = (site / place).read_bytes()
            expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            assert (digest, size) == (f"sha256={expected}", str(len(data)))


def test_what_wheels_carry_can_be_read_out_of_them(garden: Garden, orders: Wheel, click: Wheel) -> None:
    planted = garden.plant(orders, click)
    carried = [
        entry
        for one in (orders, click)
        for entry in install.carried(one.path, prefix=garden.prefix, python_minor=HERE.python_minor)
    ]
    assert planted.carried_by_wheels().entries == tuple(sorted(carried))


def test_a_wheel_is_the_same_whatever_is_beside_it(garden: Garden, orders: Wheel, click: Wheel) -> None:
    together = garden.plant(orders, click)
    garden.store = Store(garden.path / "other-store")
    alone = garden.plant(orders, into="alone")
    assert alone.of("orders") == together.of("orders")
    garden.store = Store(garden.path / "third-store")
    assert garden.plant(click, orders, into="reversed") == together


def test_only_a_changed_wheel_is_planted_again(garden: Garden, room: Room, orders: Wheel, click: Wheel) -> None:
    garden.plant(orders, click)
    assert len(room.commands) == 2
    assert garden.plant(orders, click, into="again") == garden.plant(click, orders, into="once-more")
    assert len(room.commands) == 2
    changed = wheel(garden.path / "new", "orders", ORDERS | {"orders/__init__.py": "def main(): return 'bye'\n"})
    garden.plant(changed, click, into="changed")
    assert len(room.commands) == 3


@pytest.mark.parametrize("harm", ["content", "mode", "missing", "listing"])
def test_a_damaged_cache_is_made_again(harm: str, garden: Garden, orders: Wheel) -> None:
    planted, before = garden.plant(orders), garden.seen()
    shutil.rmtree(garden.path / "tree")
    (found,) = (garden.store.root / "planted").rglob("orders/__init__.py")
    if harm == "content":
        found.write_text("evil = 1\n")
    elif harm == "mode":
        found.chmod(0o777)
    elif harm == "missing":
        found.unlink()
    else:
        (listing,) = (garden.store.root / "planted").rglob("entries.json")
        listing.write_text("[]")
    assert garden.plant(orders) == planted
    assert garden.seen() == before


def test_the_umask_changes_nothing(garden: Garden, orders: Wheel) -> None:
    planted = garden.plant(orders)
    garden.store = Store(garden.path / "other-store")
    before = os.umask(0o077)
    try:
        again = garden.plant(orders, into="again")
    finally:
        os.umask(before)
    assert again == planted
    assert garden.seen("again") == garden.seen()
    folders = [path for path in (garden.path / "again").rglob("*") if path.is_dir() and not path.is_symlink()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o755}


def test_another_file_system_gets_copies(garden: Garden, orders: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = garden.plant(orders)

    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    assert garden.plant(orders, into="copied") == planted
    assert garden.seen("copied") == garden.seen()


@pytest.mark.parametrize("content", ["same", "other"])
def test_two_wheels_that_own_one_file(content: str, garden: Garden, click: Wheel) -> None:
    same = CLICK["click/__init__.py"] if content == "same" else "other = 1\n"
    thief = wheel(garden.path / "wheels", "thief", {"click/__init__.py": same})
    with pytest.raises(BuildError, match=r"click and thief both own /.*/click/__init__\.py") as error:
        garden.plant(click, thief)
    assert error.value.problems[0].hint


def test_a_file_where_another_wheel_has_a_folder(garden: Garden, click: Wheel) -> None:
    thief = wheel(garden.path / "wheels", "thief", {"click": "no folder\n"})
    with pytest.raises(BuildError, match="click and thief both own"):
        garden.plant(click, thief)


def test_a_wheel_that_brings_the_environments_python(garden: Garden) -> None:
    thief = wheel(garden.path / "wheels", "thief", {"thief-1.0.data/scripts/python": "#!python\n"})
    with pytest.raises(BuildError, match="the environment itself and thief both own"):
        garden.plant(thief)


@pytest.mark.integration
def test_in_a_real_build_root(tmp_path: Path, store: Store, orders: Wheel, click: Wheel) -> None:
    """The target's own Python, in bubblewrap, at the path that hosts will have."""
    debian = target.load("debian-12")
    prefix = PurePosixPath("/opt/venvs/orders")
    garden = Garden(tmp_path, store, small_stage.runner(), prefix, debian)
    planted = garden.plant(orders, click)
    assert garden.seen() == {(e.path, e.mode, e.link or e.sha256) for e in planted.entries}
    pyc = tmp_path / "tree" / garden.site / "orders/__pycache__/__init__.cpython-311.pyc"
    assert b"/opt/venvs/orders/lib/python3.11/site-packages/orders/__init__.py" in pyc.read_bytes()
    garden.store = Store(tmp_path / "other-store")
    assert garden.plant(click, orders, into="again") == planted
    assert str(tmp_path).encode() not in b"".join(
        path.read_bytes() for path in (tmp_path / "tree").rglob("*") if path.is_file() and not path.is_symlink()
    )


# difference

DIGESTS = [Digest(hashlib.sha256(bytes([number])).hexdigest()) for number in range(4)]
_paths = st.from_regex(r"p(/[a-z]{1,3}){1,2}", fullmatch=True)
_files = st.builds(
    Entry,
    path=_paths,
    kind=st.sampled_from(["file", "script", "record", "bytecode"]),
    mode=st.sampled_from([0o644, 0o755]),
    size=st.integers(0, 9),
    sha256=st.sampled_from(DIGESTS),
)
_links = st.builds(Entry, path=_paths, kind=st.just("link"), mode=st.just(0o777), link=st.sampled_from(["a", "b"]))
_listings = st.lists(_files | _links, min_size=1, max_size=8, unique_by=lambda entry: entry.path)

_FILE_CHANGES: dict[str, Callable[[Entry], Entry]] = {
    "content": lambda e: dataclasses.replace(e, sha256=DIGESTS[DIGESTS.index(e.sha256) - 1]),
    "size": lambda e: dataclasses.replace(e, size=e.size + 1),
    "mode": lambda e: dataclasses.replace(e, mode=e.mode ^ 0o111),
    "setuid": lambda e: dataclasses.replace(e, mode=e.mode | 0o4000),
    "to link": lambda e: Entry(path=e.path, kind="link", mode=0o777, link="a"),
}
_LINK_CHANGES: dict[str, Callable[[Entry], Entry]] = {
    "link": lambda e: dataclasses.replace(e, link=e.link + "x"),
    "to file": lambda e: Entry(path=e.path, sha256=DIGESTS[0]),
}


@given(listing=_listings, data=st.data())
def test_any_one_mutation_is_reported_with_its_path(listing: list[Entry], data: st.DataObject) -> None:
    assert tree.difference(listing, listing) == ()
    place = data.draw(st.integers(0, len(listing) - 1))
    victim = listing[place]
    changes = _LINK_CHANGES if victim.kind == "link" else _FILE_CHANGES
    change = data.draw(st.sampled_from([*changes, "remove", "add", "twice"]))
    changed = list(listing)
    path = victim.path
    if change == "remove":
        del changed[place]
    elif change == "add":
        path = victim.path + ".new"
        changed.append(dataclasses.replace(victim, path=path))
    elif change == "twice":
        changed.append(victim)
    else:
        changed[place] = changes[change](victim)
    (line,) = tree.difference(listing, changed)
    assert path in line.replace(";", " ").split()
    (back,) = tree.difference(changed, listing)
    assert path in back.replace(";", " ").split()


@settings(max_examples=50)
@given(listing=_listings, data=st.data())
def test_order_kind_and_owner_do_not_count(listing: list[Entry], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(listing))
    other = [dataclasses.replace(e, dist="x", kind=e.kind if e.kind == "link" else "file") for e in shuffled]
    assert tree.difference(listing, other) == ()


def test_the_lines_of_a_difference() -> None:
    one, two = DIGESTS[:2]
    expected = [
        Entry(path="a", sha256=one, size=1),
        Entry(path="b", sha256=one),
        Entry(path="c", sha256=one, mode=0o755),
        Entry(path="d", kind="link", link="x"),
    ]
    found = [
        Entry(path="a", sha256=two, size=2),
        Entry(path="c", sha256=one),
        Entry(path="d", kind="link", link="y"),
        Entry(path="e", sha256=one),
    ]
    assert tree.difference(expected, found) == (
        f"content differs: a (expected sha256 {one}, 1 bytes, found {two}, 2 bytes)",
        "missing: b",
        "mode differs: c 0755 → 0644",
        "link differs: d (expected a link to x, found a link to y)",
        "unexpected: e",
    )
