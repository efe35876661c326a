"""Images of several architectures in one archive: the same manifests, one index, and what is wrong is named."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from buildonce.errors import VerificationError
from buildonce.oci import index, layout, reading
from buildonce.system import canonical, files
from tests.oci import test_reading as single

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from buildonce.system.store import Store

ARCHITECTURES = {"debian-12": "amd64", "debian-12-arm64": "arm64"}


@pytest.fixture
def archives(tmp_path: Path, store: Store) -> dict[str, Path]:
    """The image of each target, whose first layer they share."""
    places = {target: tmp_path / f"{target}.oci.tar" for target in ARCHITECTURES}
    for target, path in places.items():
        single.make(path, store, debian=ARCHITECTURES[target])
    return places


@pytest.fixture
def joined(archives: dict[str, Path], tmp_path: Path) -> Path:
    index.write(tmp_path / "index.oci.tar", archives)
    return tmp_path / "index.oci.tar"


def index_of(parts: single.Parts) -> tuple[str, Any]:
    (described,) = json.loads(parts["index.json"])["manifests"]
    place = layout.blob_path(described["digest"].removeprefix("sha256:"))
    return place, json.loads(parts[place])


def test_images_keep_their_digests_and_share_their_blobs(archives: dict[str, Path], joined: Path) -> None:
    parts = single.parts_of(joined)
    _, listed = index_of(parts)
    alone = {target: single.parts_of(path) for target, path in archives.items()}
    for child in listed["manifests"]:
        target = child["annotations"]["buildonce.target"]
        (own,) = json.loads(alone[target]["index.json"])["manifests"]
        assert {key: child[key] for key in ("digest", "size", "mediaType", "platform")} == {
            key: own[key] for key in ("digest", "size", "mediaType", "platform")
        }
    assert [child["platform"] for child in listed["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux"},
    ]
    blobs = {name: data for one in alone.values() for name, data in one.items() if name.startswith("blobs/")}
    assert blobs.items() <= parts.items()
    assert len([name for name in parts if name.startswith("blobs/")]) == len(blobs) + 1


def test_what_is_read_back_is_every_image(archives: dict[str, Path], joined: Path) -> None:
    found = index.read(joined)
    assert [one.target for one in found] == ["debian-12", "debian-12-arm64"]
    for one in found:
        assert one.image.entries == reading.read(archives[one.target]).entries
        assert one.image.config["architecture"] == ARCHITECTURES[one.target]
        assert one.manifest.path == f"{one.target}/image:manifest"


def test_docker_sees_every_image_under_a_tag_of_its_own(joined: Path) -> None:
    rows = json.loads(single.parts_of(joined)["manifest.json"])
    assert [row["RepoTags"] for row in rows] == [["shop:1.0_x-amd64"], ["shop:1.0_x-arm64"]]


def test_the_order_of_the_archives_is_not_seen(archives: dict[str, Path], joined: Path, tmp_path: Path) -> None:
    index.write(tmp_path / "again.tar", dict(reversed(archives.items())))
    assert (tmp_path / "again.tar").read_bytes() == joined.read_bytes()


def test_an_index_is_no_image_and_an_image_no_index(archives: dict[str, Path], joined: Path) -> None:
    with pytest.raises(VerificationError, match="mediaType"):
        reading.read(joined)
    with pytest.raises(VerificationError, match="mediaType"):
        index.read(archives["debian-12"])


def test_images_of_different_names_are_not_joined(archives: dict[str, Path], tmp_path: Path, store: Store) -> None:
    single.make(archives["debian-12"], store, reference="shop:2.0")
    with pytest.raises(VerificationError, match=r"shop:1\.0_x, shop:2\.0"):
        index.write(tmp_path / "index.tar", archives)


def relisted(change: Callable[[Any], None]) -> Callable[[single.Parts], None]:
    """Change the index itself, and every digest that follows from it."""

    def relist(parts: single.Parts) -> None:
        place, listed = index_of(parts)
        change(listed)
        del parts[place]
        data = canonical.dump(listed)
        top = json.loads(parts["index.json"])
        top["manifests"][0] |= {"digest": f"sha256:{files.sha256_bytes(data)}", "size": len(data)}
        parts["index.json"] = canonical.dump(top)
        parts[layout.blob_path(files.sha256_bytes(data))] = data

    return relist


def _swap_platforms(listed: Any) -> None:
    one, other = listed["manifests"]
    one["platform"], other["platform"] = other["platform"], one["platform"]


def _name_one_target_twice(listed: Any) -> None:
    listed["manifests"][1]["annotations"]["buildonce.target"] = "debian-12"


def _reverse(listed: Any) -> None:
    listed["manifests"].reverse()


def _drop(listed: Any) -> None:
    listed["manifests"].pop()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_swap_platforms, "not as listed"),
        (_name_one_target_twice, "each platform and each target once"),
        (_reverse, "manifest.json"),
        (_drop, "manifest.json"),
    ],
)
def test_an_index_that_lies_is_refused(change: Callable[[Any], None], said: str, joined: Path) -> None:
    single.rewrite(joined, relisted(change))
    with pytest.raises(VerificationError, match=said):
        index.read(joined)


def test_docker_is_not_told_something_else(joined: Path) -> None:
    def change(parts: single.Parts) -> None:
        rows = json.loads(parts["manifest.json"])
        rows[0]["Config"] = rows[1]["Config"]
        parts["manifest.json"] = canonical.dump(rows)

    single.rewrite(joined, change)
    with pytest.raises(VerificationError, match="do not describe the same images"):
        index.read(joined)


def test_a_flipped_bit_in_any_blob_is_found(joined: Path) -> None:
    with tarfile.open(joined) as found:
        places = [info.offset_data for info in found if info.name.startswith("blobs/") and info.isreg()]
    for place in places:
        data = bytearray(joined.read_bytes())
        data[place] ^= 1
        (changed := joined.with_name("changed.tar")).write_bytes(data)
        with pytest.raises(VerificationError):
            index.read(changed)
