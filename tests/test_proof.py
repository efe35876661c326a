"""The proof: what each kind of artifact has to hold, and that every difference is named."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildonce import install, proof
from buildonce.errors import VerificationError
from buildonce.model import Artifact, ArtifactKind, Entry, Tree, Version
from buildonce.system import files
from tests import wheelmaker

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS: tuple[ArtifactKind, ...] = get_args(ArtifactKind)
PYTHON = "/usr/bin/python3.11"
SITE = "opt/venvs/shop/lib/python3.11/site-packages"

SHOP: dict[str, str | bytes] = {"shop/__init__.py": "x = 1\n", "shop/data.txt": "data\n"}


def entry(path: str, **facts: object) -> Entry:
    return Entry(path=path, size=1, sha256=files.sha256_bytes(path.encode()), **facts)  # type: ignore[arg-type]


TREE = Tree(
    entries=(
        entry("opt/a/cfg"),
        entry("opt/a/bin/orders", kind="script", mode=0o755, dist="orders"),
        Entry(path="opt/a/bin/python", kind="link", mode=0o777, link="/usr/bin/python3"),
        entry("opt/a/click.pyc", kind="bytecode", dist="click"),
        entry("opt/a/click.py", dist="click"),
        entry("opt/a/orders.py", dist="orders"),
        entry("opt/a/orders/RECORD", kind="record", dist="orders"),
    )
)
SHARES: dict[ArtifactKind, tuple[str, ...]] = {
    "wheel": ("opt/a/bin/orders", "opt/a/orders.py"),
    "sdist": (),
    "wheelhouse": ("opt/a/bin/orders", "opt/a/click.py", "opt/a/orders.py"),
    "pex": ("opt/a/bin/orders", "opt/a/click.py", "opt/a/orders.py"),
    "deb": tuple(sorted(one.path for one in TREE.entries)),
    "oci": tuple(sorted(one.path for one in TREE.entries)),
    "oci-index": tuple(sorted(one.path for one in TREE.entries)),
}


def artifact(kind: ArtifactKind, *extras: Entry, path: Path = Path("file")) -> Artifact:
    return Artifact(kind=kind, path=path, sha256=files.sha256_bytes(b""), size=0, extras=extras)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_carries_its_share_of_the_tree_and_what_was_meant_beside_it(kind: ArtifactKind) -> None:
    extra = entry("opt/b")
    found = proof.expected(artifact(kind, extra), TREE, "orders")
    assert tuple(one.path for one in found) == tuple(sorted((*SHARES[kind], "opt/b")))
    assert found == tuple(sorted(found))


@pytest.mark.parametrize(("kind", "spelling"), [(kind, "1.2+deb12" if kind == "deb" else "1.2rc1") for kind in KINDS])
def test_versions_are_compared_in_the_spelling_of_the_format(kind: ArtifactKind, spelling: str) -> None:
    version = Version(pep440="1.2rc1", debian="1.2~rc1", oci="1.2rc1")
    assert proof.spelled(artifact(kind), version, "1.2+deb12") == spelling


class TestOfAWheel:
    """A real artifact, small enough to be changed file by file."""

    @pytest.fixture
    def wheel(self, tmp_path: Path) -> Path:
        return wheelmaker.make(tmp_path, SHOP, name="shop", scripts={"shop": "shop:main"})

    @pytest.fixture
    def expectation(self, wheel: Path) -> proof.Expectation:
        entries = install.carried(wheel, prefix=PurePosixPath("/opt/venvs/shop"), python_minor="3.11")
        return proof.Expectation(
            name="shop", distribution="shop", version="1.0", tree=Tree(entries=entries), interpreter=PYTHON
        )

    def lines(self, wheel: Path, expectation: proof.Expectation) -> list[str]:
        with pytest.raises(VerificationError) as caught:
            proof.check(artifact("wheel", path=wheel), expectation)
        headline, *problems = caught.value.problems
        assert (headline.message, headline.where) == (f"{wheel.name} does not hold what was built", "wheel")
        assert {problem.where for problem in problems} == {wheel.name}
        return [problem.message for problem in problems]

    def test_what_was_built_is_accepted(self, wheel: Path, expectation: proof.Expectation) -> None:
        proof.check(artifact("wheel", path=wheel), expectation)

    @pytest.mark.parametrize(
        ("change", "line"),
        [
            ({"shop/__init__.py": "x = 2\n"}, f"content differs: {SITE}/shop/__init__.py (expected sha256 "),
            ({"shop/more.py": ""}, f"unexpected: {SITE}/shop/more.py"),
            ({"shop/data.txt": None}, f"missing: {SITE}/shop/data.txt"),
        ],
    )
    def test_a_changed_an_added_and_a_missing_file_are_named(
        self, change: dict[str, str | None], line: str, expectation: proof.Expectation, tmp_path: Path
    ) -> None:
        kept: dict[str, str | bytes] = {name: text for name, text in {**SHOP, **change}.items() if text is not None}
        wheel = wheelmaker.make(tmp_path / "changed", kept, name="shop", scripts={"shop": "shop:main"})
        (found,) = self.lines(wheel, expectation)
        assert found.startswith(line)

    def test_another_mode_is_named(self, expectation: proof.Expectation, tmp_path: Path) -> None:
        wheel = wheelmaker.make(
            tmp_path / "changed",
            SHOP,
            name="shop",
            scripts={"shop": "shop:main"},
            modes={"shop/data.txt": 0o100755},
        )
        assert self.lines(wheel, expectation) == [f"mode differs: {SITE}/shop/data.txt 0644 → 0755"]

    def test_another_version_and_another_name_are_told_before_the_files(
        self, wheel: Path, expectation: proof.Expectation
    ) -> None:
        assert self.lines(wheel, replace(expectation, version="2.0")) == ["version differs: expected 2.0, found 1.0"]
        other = self.lines(wheel, replace(expectation, distribution="market"))
        assert other[0] == "name differs: expected market, found shop"

    def test_a_share_of_nothing_does_not_accept_everything(self, wheel: Path, expectation: proof.Expectation) -> None:
        """As a Tree in which no file belongs to the project would have it."""
        lines = self.lines(wheel, replace(expectation, tree=Tree(entries=())))
        assert lines == [f"unexpected: {one.path}" for one in expectation.tree.entries]

    @given(count=st.integers(0, 60))
    def test_many_differences_are_counted_and_the_first_are_named(
        self, count: int, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = tmp_path_factory.mktemp("wheel")
        wheel = wheelmaker.make(folder, SHOP, name="shop")
        carried = install.carried(wheel, prefix=PurePosixPath("/opt/venvs/shop"), python_minor="3.11")
        gone = tuple(entry(f"{SITE}/shop/gone{number:02}.py", dist="shop") for number in range(count))
        meant = proof.Expectation(
            name="shop",
            distribution="shop",
            version="1.0",
            tree=Tree(entries=tuple(sorted((*carried, *gone)))),
            interpreter=PYTHON,
        )
        if not count:
            proof.check(artifact("wheel", path=wheel), meant)
            return
        lines = self.lines(wheel, meant)
        named = [line for line in lines if line.startswith("missing: ")]
        assert named == [f"missing: {one.path}" for one in gone[:20]]
        rest = [int(found[1]) for line in lines if (found := re.fullmatch(r"and (\d+) more differences", line))]
        assert rest == ([count - 20] if count > 20 else [])

    @pytest.mark.parametrize(
        "spoil", [lambda data: b"", lambda data: data[:-9], lambda data: b"#!" + data], ids=["empty", "cut", "led"]
    )
    def test_what_is_no_wheel_is_refused(
        self, spoil: Callable[[bytes], bytes], wheel: Path, expectation: proof.Expectation
    ) -> None:
        wheel.write_bytes(spoil(wheel.read_bytes()))
        with pytest.raises(VerificationError) as caught:
            proof.check(artifact("wheel", path=wheel), expectation)
        assert wheel.name in f"{caught.value.problems[0].message} {caught.value.problems[0].where}"
