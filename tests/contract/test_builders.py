"""What every builder has to keep, in one suite: whoever adds a format to the registry gets these tests with it."""

from __future__ import annotations

import gzip
import os
import re
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildonce import normalise, proof, tree
from buildonce.builders.oci import join, joined
from buildonce.builders.registry import BUILDERS, of
from buildonce.errors import VerificationError
from buildonce.model import FORMATS, Artifact, ArtifactKind, Entry, Format
from buildonce.oci import packages
from buildonce.system import files
from tests import backends
from tests.builders import small_stage
from tests.oci import image_stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from buildonce.model import Contents, Tree
    from buildonce.stage import Stage

VERSION: Final = small_stage.VERSION.pep440
KINDS: Final[tuple[ArtifactKind, ...]] = get_args(ArtifactKind)
NAMES: Final[dict[ArtifactKind, str]] = {
    "wheel": f"tinyapp-{VERSION}-py3-none-any.whl",
    "sdist": f"tinyapp-{VERSION}.tar.gz",
    "wheelhouse": f"tinyapp-{VERSION}-debian-12.wheelhouse.tar",
    "pex": f"tinyapp-{VERSION}-debian-12.pex",
    "deb": "tinyapp_1.2.4~~dev5+g1a2b3c4-1+deb12_amd64.deb",
    "oci": f"tinyapp-{VERSION}-debian-12.oci.tar",
    "oci-index": f"tinyapp-{VERSION}-debian-12.index.oci.tar",
}
EMPTY_ZIP: Final = b"PK\5\6" + bytes(18)
GARBAGE: Final[dict[str, bytes]] = {
    "nothing": b"",
    "text": b"<html>404</html>\n" * 99,
    "noise": bytes(range(256)) * 64,
    "an empty tar": bytes(10240),
    "an empty tar.gz": gzip.compress(bytes(10240), mtime=0),
    "an empty zip": EMPTY_ZIP,
    "an ar without members": b"!<arch>\n",
    "the start of a zip": b"PK\3\4" + bytes(64),
    "the start of a gzip": gzip.compress(bytes(10240), mtime=0)[:12],
}


@dataclass(frozen=True)
class Built:
    """What every builder made of one stage; and the index over its image and one for another architecture."""

    stage: Stage
    made: Mapping[Format, Sequence[Artifact]]
    other: Artifact  # the image for the other architecture
    index: Artifact

    def artifact(self, kind: ArtifactKind) -> Artifact:
        return next(one for one in (*chain(*self.made.values()), self.index) if one.kind == kind)

    def tree(self, kind: ArtifactKind) -> Tree:
        images = (*self.made["oci"], self.other)
        trees = {image.target: self.stage.tree for image in images}
        return joined(self.index, images, trees) if kind == "oci-index" else self.stage.tree


def build(format_: Format, stage: Stage, into: Path) -> tuple[Artifact, ...]:
    into.mkdir()
    return BUILDERS[format_].build(stage, into, small_stage.runner())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("contract")
    stage = whole_stage(folder / "stage")
    made = {format_: build(format_, stage, folder / format_) for format_ in FORMATS}
    (other,) = build("oci", on_another_architecture(stage), folder / "other")
    index = join((*made["oci"], other), new(folder / "index"), NAMES["oci-index"])
    return Built(stage, made, other, index)


def on_another_architecture(stage: Stage) -> Stage:
    """The same stage under another name: what an index is told is what counts here."""
    return replace(stage, target=replace(stage.target, name="debian-12-arm64", architecture="arm64"))


def new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def whole_stage(path: Path) -> Stage:
    """A stage that has all that any builder may read."""
    service = {"service": {"command": "tinyapp serve", "port": 8080}}
    made = small_stage.stage(path, settings=service)
    top = path / f"tinyapp-{VERSION}"
    top.mkdir()
    (top / "PKG-INFO").write_text(f"Metadata-Version: 2.4\nName: tinyapp\nVersion: {VERSION}\n")
    (top / "tinyapp.py").write_text("x = 1\n")
    (path / "sbom.cdx.json").write_bytes(b'{"bomFormat":"CycloneDX"}')
    packed = normalise.sdist(backends.sdist_of(top, path / "packed"), path / "sdist", epoch=made.source.epoch)
    pins, paths = image_stage.os_packages()
    runtime = packages.runtime(made.target, pins, paths, tree=made.tree, root=made.tree_root, store=image_stage.store())
    return replace(made, sdist=packed, runtime=runtime, store=image_stage.store())


def read(path: Path, kind: ArtifactKind, stage: Stage) -> Contents:
    return of(kind).read(path, kind, name=stage.project.name, interpreter=str(stage.target.interpreter))


def test_every_format_has_one_builder_and_every_kind_is_made_by_one() -> None:
    assert tuple(BUILDERS) == FORMATS
    assert sorted(chain(*(builder.kinds for builder in BUILDERS.values()))) == sorted(KINDS)
    for format_, builder in BUILDERS.items():
        assert builder.format == format_
        assert type(builder).__name__ == f"{format_.title()}Builder"
        assert type(builder).__module__ == f"buildonce.builders.{format_}"
        assert all(of(kind) is builder for kind in builder.kinds)


@pytest.mark.integration
class TestBuilding:
    @pytest.mark.parametrize("format_", FORMATS)
    def test_it_makes_its_kinds_under_the_names_of_the_contract_and_leaves_nothing_else(
        self, format_: Format, built: Built
    ) -> None:
        made = built.made[format_]
        joins = {"oci-index"}  # made of the artifacts of several stages
        assert tuple(artifact.kind for artifact in made) == tuple(k for k in BUILDERS[format_].kinds if k not in joins)
        assert [artifact.file for artifact in made] == [NAMES[artifact.kind] for artifact in made]
        (folder,) = {artifact.path.parent for artifact in made}
        assert sorted(path.name for path in folder.iterdir()) == sorted(artifact.file for artifact in made)

    @pytest.mark.parametrize("kind", KINDS)
    def test_it_says_what_the_file_is(self, kind: ArtifactKind, built: Built) -> None:
        made = built.artifact(kind)
        assert made.sha256 == files.sha256_file(made.path)
        assert made.size == made.path.stat().st_size
        assert made.target == ("" if kind in ("wheel", "sdist", "oci-index") else "debian-12")
        assert made.path.stat().st_mode & 0o7777 == (0o755 if kind == "pex" else 0o644)
        assert not made.path.is_symlink()

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_is_read_back_is_the_tree_and_what_was_meant(self, kind: ArtifactKind, built: Built) -> None:
        stage, made = built.stage, built.artifact(kind)
        found = read(made.path, kind, stage)
        assert found.name == "tinyapp"
        assert found.version == proof.spelled(made, stage.version, stage.version.deb(stage.target))
        assert tree.difference(proof.expected(made, built.tree(kind), "tinyapp"), found.entries) == ()
        assert found.entries == tuple(sorted(found.entries))
        assert made.extras == tuple(sorted(set(made.extras)))
        assert any(re.search(r"tinyapp(/__init__)?\.py$", entry.path) for entry in found.entries)

    @pytest.mark.parametrize("format_", FORMATS)
    def test_built_again_in_another_folder_under_another_umask_and_time_zone_it_is_the_same(
        self, format_: Format, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TZ", "Pacific/Kiritimati")
        monkeypatch.chdir("/")
        with umask(0o077):
            again = build(format_, built.stage, tmp_path / ("a folder with another name" * 3))
        assert [facts(artifact) for artifact in again] == [facts(artifact) for artifact in built.made[format_]]


@pytest.mark.integration
def test_joined_again_in_another_order_the_index_is_the_same(built: Built, tmp_path: Path) -> None:
    with umask(0o077):
        again = join((built.other, *built.made["oci"]), new(tmp_path / "again"), NAMES["oci-index"])
    assert facts(again) == facts(built.index)


def facts(artifact: Artifact) -> tuple[Any, ...]:
    """All that must not depend on where it was built."""
    return (artifact.file, artifact.sha256, artifact.path.stat().st_mode, artifact.extras)


@contextmanager
def umask(bits: int) -> Iterator[None]:
    before = os.umask(bits)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def spoilt(name: str, data: bytes) -> Iterator[Path]:
    """A file of the right name that holds *data*."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        yield path


@pytest.mark.integration
class TestReading:
    @pytest.mark.parametrize("garbage", GARBAGE)
    @pytest.mark.parametrize("kind", KINDS)
    def test_garbage_is_refused_and_the_file_named(self, kind: ArtifactKind, garbage: str, built: Built) -> None:
        with spoilt(NAMES[kind], GARBAGE[garbage]) as path:
            self._refuse(path, kind, built)

    @pytest.mark.parametrize("other", KINDS)
    @pytest.mark.parametrize("kind", KINDS)
    def test_an_artifact_of_another_kind_is_refused(
        self, kind: ArtifactKind, other: ArtifactKind, built: Built
    ) -> None:
        if kind == other:
            assert read(built.artifact(kind).path, kind, built.stage).entries
            return
        with spoilt(NAMES[kind], built.artifact(other).path.read_bytes()) as path:
            self._refuse(path, kind, built)

    @staticmethod
    def _refuse(path: Path, kind: ArtifactKind, built: Built) -> None:
        with pytest.raises(VerificationError) as caught:
            read(path, kind, built.stage)
        said = caught.value.problems[0]
        assert path.name in f"{said.message} {said.where}"

    @pytest.mark.parametrize("kind", KINDS)
    @settings(max_examples=10, deadline=None)
    @given(part=st.floats(0, 1, exclude_max=True))
    def test_cut_anywhere_it_is_refused(self, kind: ArtifactKind, part: float, built: Built) -> None:
        """Or only the padding at the end of a tar is gone."""
        data = built.artifact(kind).path.read_bytes()
        with spoilt(NAMES[kind], data[: int(part * len(data))]) as path:
            found = self._read_or_refused(path, kind, built)
            assert found is None or found == read(built.artifact(kind).path, kind, built.stage).entries

    @pytest.mark.parametrize("kind", KINDS)
    @settings(max_examples=10, deadline=None)
    @given(part=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def test_a_flipped_bit_is_refused_or_listed_and_never_anything_else(
        self, kind: ArtifactKind, part: float, bit: int, built: Built
    ) -> None:
        data = bytearray(built.artifact(kind).path.read_bytes())
        data[int(part * len(data))] ^= 1 << bit
        with spoilt(NAMES[kind], bytes(data)) as path:
            self._read_or_refused(path, kind, built)

    @staticmethod
    def _read_or_refused(path: Path, kind: ArtifactKind, built: Built) -> tuple[Entry, ...] | None:
        try:
            return read(path, kind, built.stage).entries
        except VerificationError:
            return None
