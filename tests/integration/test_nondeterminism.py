"""One fault of each class of non-determinism: outside of a build root its cause is named, inside most cannot occur."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from buildonce.difference import Difference, compare
from tests.backends import PROJECTS
from tests.integration import nondeterminism
from tests.integration.nondeterminism import FAULTS, PLACES
from tests.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.nondeterminism import Place
    from tests.integration.tiny import User

MEMORY: Final = Path("/dev/shm")  # lists a folder in the order of its making, which disks do not

# What shows even in a build root: the clock, the random source, and the order of the disk are the kernel's.
THROUGH: Final = ("order", "random id", "timestamp")


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nondeterminism.locales(tmp_path_factory.mktemp("i18n") / "locales")


@pytest.fixture
def memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="buildonce-test-") as folder:
        yield Path(folder)


def built_twice(fault: str, memory: Path, locales: Path) -> tuple[Path, Path]:
    one, two = (place.wheel(fault, memory, locales) for place in PLACES)
    return one, two


def test_there_is_a_project_for_every_class() -> None:
    assert set(FAULTS) == {
        *("timestamp", "path", "hostname", "user", "umask", "order", "locale", "hash seed", "random id", "compressor")
    }


def test_the_page_says_what_is_shown_here() -> None:
    page = (ROOT / "docs/explanation/what-differs.md").read_text("utf-8")
    rows = re.findall(r"^\| ([a-z ]+) \| (contained|\*\*gets through\*\*).* \| `([a-z ]+)` \|$", page, re.MULTILINE)
    assert [name for name, _, _ in rows] == [cause for _, _, cause in rows] == list(FAULTS)
    assert tuple(name for name, how, _ in rows if how != "contained") == THROUGH


def test_without_a_fault_both_machines_give_the_same_bytes(memory: Path, locales: Path) -> None:
    """So that what differs below is the fault's doing."""
    assert compare(*built_twice("", memory, locales)) is None


@pytest.mark.parametrize("fault", FAULTS)
def test_on_two_machines_the_fault_shows_and_its_cause_is_named(fault: str, memory: Path, locales: Path) -> None:
    difference = compare(*built_twice(fault, memory, locales))

    assert difference is not None
    print(fault, difference.verdict, difference.member, *difference.lines, difference.hint, sep="\n")
    names_it(fault, difference)


def names_it(fault: str, difference: Difference) -> None:
    """The verdict, the file, and one cause: its name, evidence, and the next step."""
    assert difference.causes == (fault,)
    if fault in ("umask", "compressor"):
        assert difference.verdict == "container-only"
        assert difference.member == "shop/__init__.py" if fault == "umask" else difference.member.startswith("shop/")
    else:
        assert (difference.verdict, difference.member) == ("content", "shop/facts.txt")
        assert {line[0] for line in difference.lines} == {"@", "-", "+"}
    name, evidence, step = (
        difference.hint.partition("; ")[0].partition(": ")[0],
        "→",
        difference.hint.partition("; ")[2],
    )
    assert name == fault
    assert step
    assert evidence in difference.hint or fault in ("order", "hash seed", "compressor")
    assert difference.hint.count("\n") == 0


@pytest.mark.parametrize(
    ("name", "wheel", "sdist"),
    [
        ("greet-setuptools", ("timestamp", "umask"), ("timestamp", "umask", "user")),
        ("greet-hatchling", (), ()),
    ],
)
def test_what_real_backends_let_through_is_named(
    name: str, wheel: tuple[str, ...], sdist: tuple[str, ...], memory: Path, locales: Path
) -> None:
    one, two = (place.build(place.copy(PROJECTS / name, memory), locales) for place in PLACES)

    found = {path.name.endswith(".whl"): compare(path, other) for path, other in zip(one, two, strict=True)}
    for difference, causes in ((found[True], wheel), (found[False], sdist)):
        assert (difference.causes if difference else ()) == causes
        assert difference is None or difference.verdict == "container-only"


@pytest.mark.parametrize("fault", FAULTS)
def test_in_a_build_root_it_cannot_occur_or_is_named(fault: str, user: User, memory: Path, locales: Path) -> None:
    project(user, fault)
    # In memory and on a disk, as the order of a folder's files is the file system's.
    one, two = (
        released(user, place, folder, locales) for place, folder in zip(PLACES, (memory, user.home), strict=True)
    )

    assert one.keys() == two.keys()
    assert {name.partition(".")[2] for name in one} >= {"0-py3-none-any.whl", "0.tar.gz", "0-debian-12.wheelhouse.tar"}
    found = {name: compare(one[name], two[name]) for name in sorted(one)}
    differing = {name: difference for name, difference in found.items() if difference}
    print(fault, *differing.items(), sep="\n")
    if fault not in THROUGH:
        assert differing == {}
        return
    names_it(fault, differing.pop("shop-1.0-py3-none-any.whl"))
    within = differing.pop("shop-1.0-debian-12.wheelhouse.tar")
    assert (within.causes, within.member) == ((fault,), "wheels/shop-1.0-py3-none-any.whl!/shop/facts.txt")
    assert within.verdict == "content"
    # What only says so: the manifest and the like. The sdist is what it was.
    assert {difference.verdict for difference in differing.values()} == {"metadata-only"}
    assert "shop-1.0.tar.gz" not in differing


def project(user: User, fault: str) -> None:
    """The project with *fault*, locked, committed and tagged."""
    shutil.rmtree(user.root)
    nondeterminism.lay(fault, user.root)
    user.lock()
    user.commit()
    user.git("tag", "v1.0")


def released(user: User, place: Place, folder: Path, locales: Path) -> dict[str, Path]:
    """What `release build` makes of a clone at *place*: everything but signatures and logs."""
    root = folder / place.folder / "shop"
    user.git("clone", "--quiet", str(user.root), str(root))
    alone = ("unshare", "--uts") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--uts")
    start = (*alone, "sh", "-c", f'hostname {place.host}; umask {place.umask}; exec "$@"', "sh")
    environment = {**place.environment(locales), "HOME": str(user.home)}
    done = replace(user, root=root).run("build", "--json", start=start, **environment)
    assert done.code == 0
    made = (path for path in Path(done.data["dir"]).iterdir() if path.is_file())
    return {path.name: path for path in made if path.suffix not in {".sig", ".sshsig", ".asc"}}
