"""The map to Debian and OCI, proved; and how the version of a commit is settled, with real backends."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import pytest
from debian.debian_support import NativeVersion
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version

from buildonce import project, source, version
from buildonce.errors import ConfigurationError, SourceError
from tests.conftest import PYPROJECT, Repository, new_repository

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from buildonce import model
    from buildonce.protocols import Runner

RELEASES = [
    "1",
    "1.0",
    "1.0.0",
    "1.0.0.0",
    "1.0.0.1",
    "1.0.1",
    "1.1",
    "1.9",
    "1.10",
    "2",
    "0.9",
    "10",
    "2024.1.5",
    "1!0.1",
    "1!2",
    "2!0",
]
PRES = ["", "a0", "a1", "b1", "b2", "rc1", "rc2", "rc10"]
POSTS = ["", ".post0", ".post1", ".post10"]
DEVS = ["", ".dev0", ".dev1", ".dev12"]
LOCALS = [
    "+g1a2b3c4",
    "+gffff",
    "+1",
    "+10",
    "+1.2",
    "+ubuntu1",
    "+zeta",
    "+abc.5",
    "+2.a",
    "+g1a2b3c4.d20261121",
    "+deb12u1",
    "+post1",
    "+l.1",
    "+gx",
]

PUBLIC = sorted({Version("".join(parts)) for parts in product(RELEASES, PRES, POSTS, DEVS)})


def debian(pep440: Version) -> NativeVersion:
    return NativeVersion(version.spell(str(pep440)).debian)


@pytest.mark.parametrize(
    ("pep440", "deb", "oci"),
    [
        ("1.2", "1.2.0", "1.2"),
        ("1.2.3.dev4", "1.2.3~~dev4", "1.2.3.dev4"),
        ("1.3.0a1", "1.3.0~a1", "1.3.0a1"),
        ("1.3.0rc2.dev3+gabc1234", "1.3.0~rc2~dev3+gabc1234", "1.3.0rc2.dev3_gabc1234"),
        ("1.3.0rc2", "1.3.0~rc2", "1.3.0rc2"),
        ("1.2.4.dev5+g1a2b3c4", "1.2.4~~dev5+g1a2b3c4", "1.2.4.dev5_g1a2b3c4"),
        ("1.2.3.post1.dev2", "1.2.3+post1~dev2", "1.2.3.post1.dev2"),
        ("1.2.3.post1", "1.2.3+post1", "1.2.3.post1"),
        ("1.2.3+ubuntu.1", "1.2.3+l.ubuntu.1", "1.2.3_ubuntu.1"),
        ("1!2.0", "1:2.0.0", "1-2.0"),
        ("V1.0-RC1", "1.0.0~rc1", "1.0rc1"),
    ],
)
def test_spelling(pep440: str, deb: str, oci: str) -> None:
    found = version.spell(pep440)
    assert (found.pep440, found.debian, found.oci) == (str(Version(pep440)), deb, oci)


def test_the_order_of_public_versions_is_kept() -> None:
    """Neighbours in a total order prove all pairs."""
    assert len(PUBLIC) == 1664
    mapped = [debian(one) for one in PUBLIC]
    assert all(lower < higher for lower, higher in pairwise(mapped))


def test_a_local_version_lies_between_its_public_one_and_the_next() -> None:
    mapped = [debian(one) for one in PUBLIC]
    for index, public in enumerate(PUBLIC):
        for local in LOCALS:
            found = debian(Version(f"{public}{local}"))
            assert mapped[index] < found, (public, local)
            assert index + 1 == len(mapped) or found < mapped[index + 1], (public, local)


def test_different_versions_are_spelled_differently() -> None:
    every = {Version(f"{public}{local}") for public in PUBLIC for local in ("", *LOCALS)}
    assert len({version.spell(str(one)).debian for one in every}) == len(every)
    assert len({version.spell(str(one)).oci for one in every}) == len(every)


numbers = st.integers(0, 120)
segments = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)


@st.composite
def versions(draw: st.DrawFn, *, local: bool = True) -> Version:
    text = draw(st.sampled_from(["", "1!", "20!"])) + ".".join(
        map(str, draw(st.lists(numbers, min_size=1, max_size=5)))
    )
    for kind in (st.sampled_from(["a", "b", "rc"]), st.just(".post"), st.just(".dev")):
        text += f"{draw(kind)}{draw(numbers)}" if draw(st.booleans()) else ""
    if local and draw(st.booleans()):
        text += f"+{'.'.join(draw(st.lists(segments, min_size=1, max_size=3)))}"
    return Version(text)


@settings(max_examples=80, deadline=None)
@given(versions(local=False), versions(local=False))
def test_dpkg_agrees_on_the_order(one: Version, other: Version) -> None:
    relation = "lt" if one < other else "gt" if one > other else "eq"
    spelled = [f"{version.spell(str(v)).debian}-1+deb12" for v in (one, other)]
    assert subprocess.run(["dpkg", "--compare-versions", spelled[0], relation, spelled[1]], check=False).returncode == 0


@settings(max_examples=80, deadline=None)
@given(versions())
def test_dpkg_takes_every_spelling(one: Version) -> None:
    spelled = version.spell(str(one))
    done = subprocess.run(["dpkg", "--validate-version", f"{spelled.debian}-1"], check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@settings(max_examples=1000, deadline=None)
@given(versions(), versions())
def test_order_and_difference_of_any_two(one: Version, other: Version) -> None:
    spelled, there = version.spell(str(one)), version.spell(str(other))
    assert (one == other) == (spelled.debian == there.debian)
    assert (str(one) == str(other)) == (spelled.oci == there.oci)  # 0 and 0.0 are one version of two spellings
    if Version(one.public) != Version(other.public):
        assert (one < other) == (debian(one) < debian(other))


@given(versions())
def test_an_image_tag_can_be_read_back(one: Version) -> None:
    tag = version.spell(str(one)).oci
    assert Version(tag.replace("_", "+").replace("-", "!")) == one


@pytest.mark.parametrize("text", ["", "one", "1.0-", "1.0+", "1.0\n; rm", "1.0+a_b-?"])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a version"):
        version.spell(text)


def test_a_version_longer_than_a_tag() -> None:
    with pytest.raises(ConfigurationError, match="at most 128"):
        version.spell("1.0+" + "a" * 125)
    assert len(version.spell("1.0+" + "a" * 124).oci) == 128


DYNAMIC = """\
# kept as it is
[build-system]
requires = [{requires}]
build-backend = "{backend}"

[project]
name = "hello"  # the name
dynamic = ["version"]
{more}
"""
SCM = DYNAMIC.format(requires='"setuptools", "setuptools-scm"', backend="setuptools.build_meta",
                     more='[tool.setuptools]\npy-modules = ["hello"]\n[tool.setuptools_scm]\n')  # fmt: skip
HATCH = DYNAMIC.format(requires='"hatchling", "hatch-vcs"', backend="hatchling.build",
                       more='[tool.hatch.version]\nsource = "vcs"\n')  # fmt: skip
# Like flit's and hatchling's versions from a module: the same for every commit.
MODULE = DYNAMIC.format(requires='"hatchling"', backend="hatchling.build",
                        more='[tool.hatch.version]\npath = "hello.py"\n')  # fmt: skip
POETRY = """\
[build-system]
requires = ["poetry-core"]
build-backend = "poetry.core.masonry.api"

[tool.poetry]
name = "hello"
version = "1.0"
description = ""
authors = []
"""


def ask_backend(folder: Path) -> str:
    """What the project's own backend says, by its hook (PEP 517)."""
    script = (
        "import sys, build.util, pyproject_hooks; run = pyproject_hooks.default_subprocess_runner; "
        "print(build.util.project_wheel_metadata(sys.argv[1], isolated=False, runner=run)['Version'])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def never(folder: Path) -> str:
    raise AssertionError("the backend must not be asked")


class Settled:
    """One commit of *repository*, settled; with what the clone then says."""

    def __init__(
        self, repository: Repository, host: Runner, ask: Callable[[Path], str] = never, *, folder: str = "."
    ) -> None:
        root = repository.root / folder
        found = source.inspect(root, host, allow_dirty=True)
        clones = len(list(repository.root.parent.glob("clone-*")))
        self.clone = source.export(root, found, repository.root.parent / f"clone-{clones}", host)
        self.project = project.read(root)
        before = (root / "pyproject.toml").read_bytes()
        self.version: model.Version = version.settle(self.project, found, self.clone, ask)
        self.sha = found.commit[:9]
        self.pyproject: dict[str, Any] = tomllib.loads((self.clone / "pyproject.toml").read_text())
        assert (root / "pyproject.toml").read_bytes() == before
        assert int((self.clone / "pyproject.toml").stat().st_mtime) == found.epoch

    @property
    def text(self) -> str:
        return self.version.pep440.replace(self.sha, "SHA")


@pytest.mark.parametrize("tag", ["v1.0", "1.0", "v1.0.0", "hello-1.0", "hello-v1.0", "hello/v1.0", "hello@1.0"])
def test_a_static_version_stands_on_its_tag(repository: Repository, host: Runner, tag: str) -> None:
    repository.git("tag", tag)
    found = Settled(repository, host)
    assert found.text == "1.0"
    assert version.publishable(found.text)
    assert found.pyproject == tomllib.loads(PYPROJECT)


@pytest.mark.parametrize("tags", [(), ("v9.9",), ("world-1.0",), ("v1.0-old",), ("v1.1", "latest")])
def test_a_static_version_elsewhere_names_the_commit(
    repository: Repository, host: Runner, tags: tuple[str, ...]
) -> None:
    repository.commit("two")
    for tag in tags:
        repository.git("tag", tag)
    found = Settled(repository, host)
    assert found.text == "1.0.dev2+gSHA"
    assert found.pyproject["project"]["version"] == found.version.pep440
    assert version.publishable(found.version.pep440)


def test_its_own_tag_may_be_one_of_several(repository: Repository, host: Runner) -> None:
    for tag in ("v9.9", "v1.0", "world-2.0", "zzz"):
        repository.git("tag", tag)
    assert Settled(repository, host).text == "1.0"


def test_each_commit_upgrades_the_one_before(repository: Repository, host: Runner) -> None:
    first = Settled(repository, host).version
    repository.commit("two")
    second = Settled(repository, host).version
    assert NativeVersion(first.debian) < NativeVersion(second.debian)


def test_poetry(repository: Repository, host: Runner) -> None:
    repository.commit(**{"pyproject.toml": POETRY})
    found = Settled(repository, host)
    assert found.text == "1.0.dev2+gSHA"
    assert found.pyproject["tool"]["poetry"]["version"] == found.version.pep440
    assert "project" not in found.pyproject


@pytest.mark.parametrize("pyproject", [SCM, HATCH], ids=["setuptools-scm", "hatch-vcs"])
def test_backends_that_count_from_tags(repository: Repository, host: Runner, pyproject: str) -> None:
    repository.commit(**{"pyproject.toml": pyproject})
    with pytest.raises(SourceError, match="no tag where a tag is needed") as caught:
        Settled(repository, host)
    assert caught.value.problems[0].hint == "git tag v0.1.0"
    repository.git("tag", "v1.2.3")
    repository.commit("three")
    found = Settled(repository, host, ask_backend)
    assert found.text == "1.2.4.dev1+gSHA"
    assert (found.clone / "pyproject.toml").read_text() == pyproject
    repository.git("tag", "v2.0")
    repository.git("rm", "-q", "hello.py")
    repository.commit("four", **{"hello.py": ""})
    repository.git("tag", "-a", "v2.1", "-m", "2.1")
    assert Settled(repository, host, ask_backend).text == "2.1"


def test_a_plug_in_that_only_lists_files_needs_no_tag(repository: Repository, host: Runner) -> None:
    attribute = SCM.replace("[tool.setuptools_scm]", '[tool.setuptools.dynamic]\nversion = {attr = "hello.version"}')
    repository.commit(**{"pyproject.toml": attribute, "hello.py": 'version = "1.5"\n'})
    assert Settled(repository, host, ask_backend).text == "1.5.dev2+gSHA"


def test_a_tag_of_another_branch_is_no_tag(repository: Repository, host: Runner) -> None:
    repository.commit(**{"pyproject.toml": SCM})
    repository.git("checkout", "-q", "-b", "side")
    repository.commit("side")
    repository.git("tag", "v3.0")
    repository.git("checkout", "-q", "main")
    with pytest.raises(SourceError, match="no tag"):
        Settled(repository, host)


def test_a_backend_that_leaves_out_the_commit(repository: Repository, host: Runner) -> None:
    """`no-local-version`: two branches would give one version."""
    scheme = SCM + 'local_scheme = "no-local-version"\n'
    repository.commit(**{"pyproject.toml": scheme})
    repository.git("tag", "v1.2.3")
    repository.commit("three")
    found = Settled(repository, host, ask_backend)
    assert found.text == "1.2.4.dev1+gSHA"
    assert found.pyproject["project"]["version"] == found.version.pep440
    assert "dynamic" not in found.pyproject["project"]
    kept = (found.clone / "pyproject.toml").read_text()
    assert kept.startswith("# kept as it is\n")
    assert 'name = "hello"  # the name\n' in kept
    assert ask_backend(found.clone) == found.version.pep440


def test_a_project_whose_tables_stand_in_several_places(repository: Repository, host: Runner) -> None:
    """With another one between them, as many have it."""
    text = MODULE + '\n[project.urls]\nHomepage = "https://example.org/"\n'
    repository.commit(**{"pyproject.toml": text, "hello.py": '__version__ = "1.5"\n'})
    found = Settled(repository, host, ask_backend)
    assert found.pyproject["project"]["version"] == found.version.pep440 == ask_backend(found.clone)
    assert "dynamic" not in found.pyproject["project"]
    assert found.pyproject["project"]["urls"] == {"Homepage": "https://example.org/"}


def test_a_version_from_a_module(repository: Repository, host: Runner) -> None:
    repository.commit(**{"pyproject.toml": MODULE, "hello.py": '__version__ = "1.5"\n'})
    found = Settled(repository, host, ask_backend)
    assert found.text == "1.5.dev2+gSHA"
    assert ask_backend(found.clone) == found.version.pep440
    repository.git("tag", "v1.5")
    repository.git("rm", "-q", "--cached", "hello.py")
    repository.commit("three")
    repository.git("tag", "1.5")
    assert Settled(repository, host, ask_backend).text == "1.5"


@pytest.mark.parametrize(
    ("answer", "settled"),
    [
        ("1.0", "1.0.dev2+gSHA"),
        ("1.0rc1", "1.0rc1.dev2+gSHA"),
        ("1.0.post3", "1.0.post3.dev2+gSHA"),
        ("1.0.dev7", "1.0.dev7+gSHA"),
        ("1.0+corp.5", "1.0.dev2+corp.5.gSHA"),
        ("1.0.post1.dev0+{7}", "1.0.post1.dev0+SHORT"),
        ("1.0.dev3+g{12}", "1.0.dev3+gLONG"),
        ("1.0+main.g{40}", "1.0+main.gFULL"),
        ("1.0.dev3+g{6}", "1.0.dev3+gABBR.gSHA"),
        ("1.0.dev3+g0000000", "1.0.dev3+g0000000.gSHA"),
    ],
)
def test_what_makes_an_answer_unique(repository: Repository, host: Runner, answer: str, settled: str) -> None:
    commit = repository.commit(**{"pyproject.toml": MODULE})
    for length, name in ((40, "FULL"), (12, "LONG"), (7, "SHORT"), (6, "ABBR")):
        answer = answer.replace(f"{{{length}}}", commit[:length])
        settled = settled.replace(name, commit[:length])
    assert Settled(repository, host, lambda _: answer).version.pep440 == str(
        Version(settled.replace("SHA", commit[:9]))
    )


def test_an_answer_that_is_no_version(repository: Repository, host: Runner) -> None:
    repository.commit(**{"pyproject.toml": MODULE})
    with pytest.raises(ConfigurationError, match="'unknown' is not a version"):
        Settled(repository, host, lambda _: "unknown")


def test_local_changes_are_never_publishable(repository: Repository, host: Runner) -> None:
    repository.git("tag", "v1.0")
    repository.write("hello.py", "changed\n")
    one = Settled(repository, host)
    digest = source.inspect(repository.root, host, allow_dirty=True).dirty
    assert digest is not None
    assert one.text == f"1.0.dev1+gSHA.d{digest[:8]}"
    assert not version.publishable(one.version.pep440)


def test_local_changes_with_a_backend_that_sees_them(repository: Repository, host: Runner) -> None:
    repository.commit(**{"pyproject.toml": SCM})
    repository.git("tag", "v1.2.3")
    repository.write("hello.py", "changed\n")
    found = Settled(repository, host, ask_backend)
    public, _, local = found.text.partition("+")
    assert public == "1.2.4.dev0"
    assert local.startswith("gSHA.d")
    assert len(local) == len("gSHA.d12345678")
    assert not version.publishable(found.version.pep440)
    assert ask_backend(found.clone) == found.version.pep440


@pytest.mark.parametrize(
    "text", ["1.0", "1.0.dev3+g1a2b3c4d5", "1.0+d1", "1.0+deadbeef", "1.0+d20261121.x", "1.0+deb12u1"]
)
def test_publishable(text: str) -> None:
    assert version.publishable(text)


def test_one_package_of_several_in_a_repository(host: Runner, tmp_path: Path) -> None:
    """The tags of another package are not ours: the backend's own prefix decides."""
    repository = new_repository(tmp_path / "mono")
    prefixed = f'{SCM}root = "../.."\n[tool.setuptools_scm.tag]\nprefix = "hello-v"\nstrict = true\n'
    repository.commit(**{"packages/hello/pyproject.toml": prefixed, "packages/hello/hello.py": ""})
    repository.git("tag", "hello-v1.0.0")
    repository.git("tag", "world-v9.9")
    repository.commit("two")
    repository.git("tag", "world-v10.0")
    assert Settled(repository, host, ask_backend, folder="packages/hello").text == "1.0.1.dev1+gSHA"
