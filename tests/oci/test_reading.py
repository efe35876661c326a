"""Archives that were changed after they were made: each change is found and the error names what is wrong."""

from __future__ import annotations

import functools
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from buildonce.errors import VerificationError
from buildonce.model import Digest
from buildonce.oci import configuration, layers, layout, reading
from buildonce.oci.configuration import Process
from buildonce.system import canonical, files
from buildonce.system.archive import Member, write_tar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from buildonce.system.store import Store

LABELS = {layout.TITLE: "shop", layout.VERSION: "1.0+x"}


def _given(members: list[Member], _: Path) -> list[Member]:
    return members


def make(
    path: Path, store: Store, *, debian: str = "amd64", reference: str = "shop:1.0_x", **process: Any
) -> layout.Image:
    """A small image of two layers at *path*."""
    stack = {
        "base": [Member(path="etc/passwd", source=b"root"), Member(path="tmp/", mode=0o1777)],
        "application": [Member(path="opt/venvs/shop/bin/shop", mode=0o755, source=b"#!")],
    }
    plans = [
        layers.LayerPlan(title=title, key=Digest(title), members=functools.partial(_given, members))
        for title, members in stack.items()
    ]
    packed = [layers.pack(plan, store) for plan in plans]
    container = configuration.container(Process(entrypoint=("/bin/shop",), environment={}, labels=LABELS, **process))
    image = layout.Image(
        reference=reference,
        config=configuration.document(container, packed, debian=debian, epoch=1_700_000_000),
        layers=packed,
        annotations=LABELS,
    )
    layout.write(path, image)
    return image


@pytest.fixture
def archive(tmp_path: Path, store: Store) -> Path:
    make(tmp_path / "image.tar", store)
    return tmp_path / "image.tar"


Parts = dict[str, bytes]


def parts_of(path: Path) -> Parts:
    with tarfile.open(path) as found:
        return {m.name: found.extractfile(m).read() for m in found if m.isreg()}  # type: ignore[union-attr]


def rewrite(path: Path, change: Callable[[Parts], None]) -> None:
    parts = parts_of(path)
    change(parts)
    with path.open("wb") as out:
        write_tar(out, [Member(path=name, source=data) for name, data in parts.items()])


def place(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def described(parts: Parts) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The index, the manifest and the configuration."""
    index = json.loads(parts["index.json"])
    manifest = json.loads(parts[place(index["manifests"][0]["digest"])])
    return index, manifest, json.loads(parts[place(manifest["config"]["digest"])])


def replace_all(parts: Parts, manifest: dict[str, Any], config: dict[str, Any]) -> None:
    """Put *config* and *manifest* in place, all digests true: the work of somebody who knows the format."""
    index, old, _ = described(parts)
    del parts[place(index["manifests"][0]["digest"])], parts[place(old["config"]["digest"])]

    def put(descriptor: dict[str, Any], value: object) -> None:
        data = canonical.dump(value)
        descriptor.update(digest=f"sha256:{files.sha256_bytes(data)}", size=len(data))
        parts[place(descriptor["digest"])] = data

    put(manifest["config"], config)
    put(index["manifests"][0], manifest)
    parts["index.json"] = canonical.dump(index)
    docker = json.loads(parts["manifest.json"])
    docker[0].update(
        Config=place(manifest["config"]["digest"]),
        Layers=[place(one["digest"]) for one in manifest["layers"]],
    )
    parts["manifest.json"] = canonical.dump(docker)


def test_a_sound_archive_is_listed(archive: Path) -> None:
    found = reading.read(archive)
    assert (found.name, found.version, found.reference) == ("shop", "1.0+x", "shop:1.0_x")
    assert [(e.path, e.mode, e.size) for e in found.entries if e.path != configuration.CONFIG_ENTRY] == [
        ("etc/passwd", 0o644, 4),
        ("opt/venvs/shop/bin/shop", 0o755, 2),
        ("tmp/", 0o1777, 0),
    ]


def test_the_bytes_do_not_depend_on_where_they_are_written(tmp_path: Path, store: Store) -> None:
    make(tmp_path / "1.tar", store)
    (tmp_path / "else").mkdir()
    make(tmp_path / "else/2.tar", store)
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "else/2.tar").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_a_flipped_bit_anywhere_is_found_and_named(archive: Path) -> None:
    for name in parts_of(archive):
        good = archive.read_bytes()

        def flip(parts: Parts, name: str = name) -> None:
            data = bytearray(parts[name])
            data[len(data) // 2] ^= 1
            parts[name] = bytes(data)

        rewrite(archive, flip)
        with pytest.raises(VerificationError) as raised:
            reading.read(archive)
        said = " ".join(f"{p.message} {p.where}" for p in raised.value.problems)
        assert name in said or name in {"index.json", "manifest.json", "oci-layout"}
        archive.write_bytes(good)


def test_a_layer_is_unpacked_once_and_hashed_each_time(
    archive: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = reading.read(archive, store)
    assert first == reading.read(archive)
    with monkeypatch.context() as patch:
        patch.setattr("buildonce.oci.blobs.read_layer", lambda *_, **__: pytest.fail("it was unpacked again"))
        assert reading.read(archive, store) == first
    for listing in (store.root / "oci-listing").glob("*/value.json"):
        listing.write_text(listing.read_text().replace("etc/passwd", "etc/passwe"))
    assert reading.read(archive, store) == first, "a listing that was changed was believed"
    name = next(name for name in parts_of(archive) if name.startswith("blobs/"))

    def flip(parts: Parts) -> None:
        parts[name] = parts[name][:-9] + bytes([parts[name][-9] ^ 1]) + parts[name][-8:]

    rewrite(archive, flip)
    with pytest.raises(VerificationError, match="digest"):
        reading.read(archive, store)


def test_a_missing_blob_is_named(archive: Path) -> None:
    for name in parts_of(archive):
        good = archive.read_bytes()
        rewrite(archive, lambda parts, name=name: parts.pop(name) and None)  # type: ignore[misc]
        with pytest.raises(VerificationError, match=f"{name} is not in the archive"):
            reading.read(archive)
        archive.write_bytes(good)


def test_a_blob_that_nothing_refers_to_is_refused(archive: Path) -> None:
    rewrite(archive, lambda parts: parts.update({"blobs/sha256/" + "0" * 64: b"smuggled"}))
    with pytest.raises(VerificationError, match="nothing refers to it"):
        reading.read(archive)


def test_a_layer_of_another_size_than_its_descriptor_says(archive: Path) -> None:
    def change(parts: Parts) -> None:
        _, manifest, config = described(parts)
        manifest["layers"][0]["size"] += 1
        replace_all(parts, manifest, config)

    rewrite(archive, change)
    with pytest.raises(VerificationError, match=r"has \d+ bytes, its descriptor says \d+"):
        reading.read(archive)


def test_a_diff_id_that_is_not_the_layers(archive: Path) -> None:
    def change(parts: Parts) -> None:
        _, manifest, config = described(parts)
        config["rootfs"]["diff_ids"].reverse()
        replace_all(parts, manifest, config)

    rewrite(archive, change)
    with pytest.raises(VerificationError, match="unpacks to sha256:"):
        reading.read(archive)


def test_docker_and_oci_see_the_same_image(archive: Path) -> None:
    def change(parts: Parts) -> None:
        docker = json.loads(parts["manifest.json"])
        docker[0]["Layers"].pop()
        parts["manifest.json"] = canonical.dump(docker)

    rewrite(archive, change)
    with pytest.raises(VerificationError, match=r"manifest\.json and index\.json do not describe the same image"):
        reading.read(archive)


def test_labels_and_annotations_agree(archive: Path) -> None:
    def change(parts: Parts) -> None:
        _, manifest, config = described(parts)
        config["config"]["Labels"][layout.VERSION] = "2.0"
        replace_all(parts, manifest, config)

    rewrite(archive, change)
    with pytest.raises(VerificationError, match="other labels than the manifest has annotations"):
        reading.read(archive)


def test_foreign_layers_without_a_named_base_are_refused(archive: Path) -> None:
    def change(parts: Parts) -> None:
        _, manifest, config = described(parts)
        config["history"][0]["created_by"] = "/bin/sh -c evil"
        replace_all(parts, manifest, config)

    rewrite(archive, change)
    with pytest.raises(VerificationError, match="a base image that is not named"):
        reading.read(archive)


def test_another_user_is_another_configuration(archive: Path, tmp_path: Path, store: Store) -> None:
    """Digests can be made true by anybody: what the container runs is compared like a file."""

    def change(parts: Parts) -> None:
        _, manifest, config = described(parts)
        config["config"]["User"] = "0:0"
        replace_all(parts, manifest, config)

    before = {e.path: e for e in reading.read(archive).entries}
    rewrite(archive, change)
    after = {e.path: e for e in reading.read(archive).entries}
    assert [path for path in before if before[path] != after[path]] == [configuration.CONFIG_ENTRY]


@pytest.mark.parametrize("data", [b"", b"no tar at all", b"\0" * 10240])
def test_what_is_no_archive(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(VerificationError):
        reading.read(tmp_path / "x.tar")


def test_an_archive_that_was_cut(archive: Path) -> None:
    data = archive.read_bytes()
    for part in (0.1, 0.5, 0.8):
        archive.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(VerificationError):
            reading.read(archive)
