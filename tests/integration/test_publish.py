"""A real release to real places, as a person does it: publish, again, promote, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from base64 import b64decode
from typing import TYPE_CHECKING

import pytest

from tests.integration.conftest import Example

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.integration.conftest import Built

TABLES = """
[tool.release.publish.shelf]
type = "folder"
path = "shelf"

[tool.release.publish.archive]
type = "folder"
path = "archive"

[tool.release.publish.staging]
type = "apt"
path = "apt"
suite = "{codename}-staging"

[tool.release.publish.production]
type = "apt"
path = "apt"
suite = "{codename}"
"""


@pytest.fixture(scope="module")
def team(orders: Example, first: Built, tmp_path_factory: pytest.TempPathFactory) -> Example:
    """Somebody with the project, its destinations and the finished release."""
    root = tmp_path_factory.mktemp("team")
    shutil.copytree(first.folder, root / "dist" / first.folder.name)
    (root / "pyproject.toml").write_text((orders.root / "pyproject.toml").read_text() + TABLES)
    for name in ("shelf", "archive", "apt"):
        (root / name).mkdir()
    return Example(root, orders.environment)


def files(folder: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_publish_and_promote(team: Example, first: Built) -> None:
    release = f"dist/{first.folder.name}"
    plan = team.release("publish", release, "--to", "shelf", "--to", "staging", "--dry-run")
    assert [one["name"] for one in plan["destinations"]] == ["shelf", "staging"]
    assert all(one["sent"] and not one["there"] for one in plan["destinations"])
    assert files(team.root / "shelf") == files(team.root / "apt") == {}

    done = team.release("publish", release, "--to", "shelf", "--to", "staging")
    assert [one.pop("use") for one in plan["destinations"]] == [[], []]
    assert [one.pop("use") for one in done["destinations"]] == [
        [str(team.root / "shelf/orders/1.4.0")],
        ["apt install orders=1.4.0-1+deb12  # bookworm-staging"],
    ]
    assert {**done, "dry_run": True} == plan
    published = files(team.root / "shelf/orders/1.4.0")
    assert published == {name: data for name, data in files(first.folder).items() if not name.startswith("log/")}

    before = files(team.root)
    again = team.release("publish", release, "--to", "shelf", "--to", "staging")
    assert [one["sent"] for one in again["destinations"]] == [[], []]
    assert files(team.root) == before

    moved = team.release("promote", "1.4.0", "--from", "shelf", "--to", "archive")
    assert files(team.root / "archive/orders/1.4.0") == published
    says(team.root / "archive/orders/1.4.0.promotions/shelf-archive.sigstore.json", moved["record"])
    listed = team.release("promote", "1.4.0", "--from", "staging", "--to", "production")
    assert [one["file"].partition("/")[0] for one in listed["to"]["sent"]] == ["pool"]
    before = files(team.root)
    assert team.release("promote", "1.4.0", "--from", "staging", "--to", "production")["record"] is None
    assert files(team.root) == before


def says(place: Path, record: str) -> None:
    """The record is signed, names the artifacts, and says who moved them."""
    assert str(place) == record
    payload = json.loads(b64decode(json.loads(place.read_text())["dsseEnvelope"]["payload"]))
    assert payload["predicateType"] == "urn:buildonce:predicate:promotion:v1"
    assert payload["predicate"]["by"]
    assert payload["predicate"]["on"].endswith("Z")
    assert {one["name"].rpartition(".")[2] for one in payload["subject"]} >= {"whl", "pex", "deb", "tar", "gz"}


def test_a_release_of_somebody_else(team: Example, first: Built, tmp_path: Path) -> None:
    """Without its key nothing of it is believed; nothing is sent."""
    before = files(team.root)
    done = team.run("publish", f"dist/{first.folder.name}", "--to", "shelf", XDG_CONFIG_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "no key is trusted here" in done.stderr
    assert files(team.root) == before


def test_a_changed_release(team: Example, first: Built, tmp_path: Path) -> None:
    changed = shutil.copytree(first.folder, tmp_path / first.folder.name)
    pex = next(changed.glob("*.pex"))
    pex.write_bytes(pex.read_bytes() + b"!")
    before = files(team.root)
    done = team.run("publish", str(changed), "--to", "shelf")
    assert done.returncode == 4
    assert files(team.root) == before


def test_a_release_of_local_changes(team: Example, orders: Example, tmp_path: Path) -> None:
    shutil.copytree(orders.root, tmp_path / "orders")
    with (tmp_path / "orders/src/orders/app.py").open("a") as source:
        source.write("# better\n")
    dirty = Example(tmp_path / "orders", orders.environment)
    made = dirty.release("build", "--allow-dirty", "--format", "wheel")
    done = team.run("publish", made["dir"], "--to", "shelf")
    assert done.returncode == 1
    assert "built with local changes" in done.stderr
    assert "commit the changes and build again" in done.stderr


def test_every_destination_is_asked_before_the_first_byte(team: Example, first: Built) -> None:
    (team.root / "archive").rename(team.root / "away")
    (team.root / "apt").rename(team.root / "far")
    shutil.rmtree(team.root / "shelf")
    (team.root / "shelf").mkdir()
    asked = ("--to", "shelf", "--to", "archive", "--to", "staging")
    done = team.run("publish", f"dist/{first.folder.name}", *asked)
    assert done.returncode == 1
    assert done.stderr.count("there is no such folder") == 2
    assert files(team.root / "shelf") == {}


def test_reprepro_and_aptly_keep_the_bytes(first: Built, tmp_path: Path) -> None:
    """Repositories that are theirs, by the lines in the manual of the destination apt."""
    deb = first.file("deb")
    base, tool = tmp_path / "base", tmp_path / "aptly.conf"
    (base / "conf").mkdir(parents=True)
    (base / "conf/distributions").write_text("Codename: bookworm\nArchitectures: amd64\nComponents: main\n")
    tool.write_text(json.dumps({"rootDir": str(tmp_path / "aptly"), "gpgDisableSign": True}))
    aptly = ("aptly", f"-config={tool}")
    for command in (
        ("reprepro", "-b", str(base), "includedeb", "bookworm", str(deb)),
        (*aptly, "repo", "create", "-distribution=bookworm", "orders"),
        (*aptly, "publish", "repo", "-architectures=amd64", "orders"),
        (*aptly, "repo", "add", "orders", str(deb)),
        (*aptly, "publish", "update", "bookworm"),
    ):
        subprocess.run(command, check=True, capture_output=True)
    for pool in (base / "pool", tmp_path / "aptly/public/pool"):
        (kept,) = pool.rglob("*.deb")
        assert kept.read_bytes() == deb.read_bytes()
