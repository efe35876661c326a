"""``release reproduce``: a release is built again from what it records, and every byte compared."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from buildonce import reproduction, variation
from buildonce.signing import attestations
from buildonce.system.run import HostRunner
from tests.integration import tiny, tools

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Built, Example
    from tests.integration.tiny import User

FAILED, DIFFERS, INPUTS_DIFFER = 1, 4, 6


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Whatever comes out, no half of a rebuild stays in the store, but of one that somebody else is at now."""
    yield
    left = []
    for path in tiny.store_folder().glob(".reproduce.*"):
        with reproduction._held(path) as free:
            left += [path.name] if free else []
    assert left == []


@pytest.fixture(autouse=True)
def patient(request: pytest.FixtureRequest) -> None:
    """A build root is made anew by most of these."""
    if "user" in request.fixturenames:
        request.getfixturevalue("user").patience = 900


def publish(user: User, tmp_path: Path, *options: str) -> Path:
    """Build a release and move it to where somebody else would get it from."""
    ended = user.run("build", "--json", *options)
    assert ended.code == 0
    return tmp_path / "published" / shutil.move(ended.data["dir"], _new(tmp_path / "published"))


def _new(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def key(user: User, name: str) -> Path:
    assert user.run("key", "new", str(user.home / name), "--no-passphrase").code == 0
    return user.home / f"{name}.key"


def rows(data: Any) -> dict[str, bool]:
    return {one["file"]: one["same"] for one in data["files"]}


# -- identical ----------------------------------------------------------------------------------------------


def test_every_format_of_a_real_application(orders: Example, first: Built) -> None:
    """With nothing but fetched files in the store: build root, Tree and layers are made again."""
    data = orders.release("reproduce", str(first.folder))

    assert data["identical"] is True
    assert data["commit"] == first.data["commit"]
    assert len(data["files"]) == 6 + len(("release.json", "provenance.json", "sbom.cdx.json"))
    assert all(rows(data).values())
    assert all(one["expected"] == one["got"] for one in data["files"])


def test_under_everything_that_must_not_matter(user: User, tmp_path: Path) -> None:
    user.ready(formats=("wheel", "pex"))
    place = publish(user, tmp_path)

    ended = user.run("reproduce", str(place), "--vary", "--json")

    assert ended.code == 0
    assert ended.data["identical"] is True
    can = {one.name for one in variation.VARIATIONS if variation.usable(one, HostRunner(), tmp_path)}
    assert {one.partition(":")[0] for one in ended.data["varied"]} == can
    assert {"umask", "time-zone", "build-path", "hash-seed"} <= can
    print(f"{len(can)} variations at once, {len(ended.data['not_varied'])} that this machine cannot do")


def test_of_a_url(user: User, tmp_path: Path) -> None:
    user.ready()
    place = publish(user, tmp_path)
    for path in place.iterdir():
        if path.is_file():
            user.server.files[f"/r/{path.name}"] = path.read_bytes()

    ended = user.run("reproduce", user.server.url("/r/release.json"), "--quick")

    assert ended.code == 0
    assert "is reproduced: every byte is the same" in ended.stderr
    asked = {path for _, path, _ in user.server.requests}
    assert "/r/SHA256SUMS.asc" in asked
    assert not [path for path in asked if path.endswith((".whl", ".tar.gz", ".tar"))], "equal digests need no artifacts"


def test_from_a_repository_that_is_named(user: User, tmp_path: Path) -> None:
    """By somebody who has only the release and the repository's address, after the tag was taken away."""
    user.ready(version='version = "1.0"')
    user.git("tag", "v1.0")
    place = publish(user, tmp_path)
    user.git("tag", "--delete", "v1.0")
    user.write("shop.py", "def main():\n    print('another day')\n")
    user.commit()
    user.git("clone", "--quiet", "--bare", str(user.root), str(tmp_path / "repository.git"))

    options = ("--quick", "-C", str(_new(tmp_path / "empty")))
    alone = user.run("reproduce", str(place), *options)
    assert alone.code == FAILED
    assert "is gone" in alone.error
    assert "--source PATH|URL" in alone.hint

    ended = user.run("reproduce", str(place), *options, "--source", f"file://{tmp_path}/repository.git", "--json")
    assert ended.code == 0
    assert ended.data["version"] == "1.0"
    assert "the tag v1.0 is not on the commit any more" in ended.stderr


def test_a_project_in_a_folder_of_its_repository(user: User, tmp_path: Path) -> None:
    user.ready()
    monorepo = _new(tmp_path / "monorepo")
    shutil.rmtree(user.root / ".git")
    shutil.copytree(user.root, monorepo / "services" / "shop")
    user.root = monorepo
    user.commit()
    user.root = monorepo / "services" / "shop"
    place = publish(user, tmp_path)
    assert json.loads((place / "release.json").read_bytes())["predicate"]["source"]["folder"] == "services/shop"

    ended = user.run("reproduce", str(place), "--quick", "-C", str(monorepo), "--json")
    assert ended.code == 0, ended.stderr


# -- attested -----------------------------------------------------------------------------------------------


def test_rebuilders_attest_and_are_counted(user: User, tmp_path: Path) -> None:
    user.ready()
    place = publish(user, tmp_path, "--key", str(key(user, "team")))
    team, ada = user.home / "team.pub", user.home / "ada.pub"
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    trust = ("--key", str(team), "--key", str(key(user, "ada").with_suffix(".pub")))
    assert user.run("verify", str(place), *trust, "--reproduced", "1").code == DIFFERS

    ended = user.run(
        "reproduce", str(place), "--trust", str(team), "--sign", "--key", str(user.home / "ada.key"), "--json"
    )

    assert ended.code == 0
    assert {path: path.read_bytes() for path in before} == before
    assert ended.data["attestation"] == str(next((place / attestations.PLACE).glob("ada-*")))
    verified = user.run("verify", str(place), *trust, "--reproduced", "1", "--json")
    assert verified.code == 0
    assert [one["name"] for one in verified.data["reproduced_by"]] == ["ada"]
    twice = user.run("verify", str(place), *trust, "--reproduced", "2")
    assert (twice.code, twice.error) == (DIFFERS, "reproduced by 1 trusted keys: ada, not by 2")
    with_cosign(place, ada)


def with_cosign(place: Path, public: Path) -> None:
    """A program that is not ours reads the statement, too."""
    (bundle,) = (place / attestations.PLACE).glob(f"ada-*/{attestations.VSA}")
    (wheel,) = place.glob("*.whl")
    options = ("--key", str(public), "--insecure-ignore-tlog", "--bundle", str(bundle))
    for file, code in ((wheel, 0), (place / "SHA256SUMS", 1)):
        done = subprocess.run(
            [
                *(str(tools.cosign("sid")), "verify-blob-attestation", *options),
                *("--type", "https://slsa.dev/verification_summary/v1", str(file)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr


# -- differing ----------------------------------------------------------------------------------------------

BY_CHANCE = """\
import uuid
from pathlib import Path

from setuptools import setup

Path("stamp.py").write_text(f"built = {uuid.uuid4().hex!r}\\n")
setup()
"""


def test_a_backend_that_is_not_deterministic_is_found(user: User, tmp_path: Path) -> None:
    user.project()
    user.write("pyproject.toml", (user.root / "pyproject.toml").read_text().replace('["shop"]', '["shop", "stamp"]'))
    user.write("setup.py", BY_CHANCE)
    user.lock()
    user.commit()
    user.git("tag", "v1.0")
    place = publish(user, tmp_path)

    ended = user.run("reproduce", str(place), "--quick", "--json", "--keep", str(tmp_path / "kept"))

    assert ended.code == DIFFERS
    data = ended.data
    assert data["identical"] is False
    different = {one["file"]: one["difference"] for one in data["files"] if not one["same"]}
    assert {"shop-1.0-py3-none-any.whl", "shop-1.0.tar.gz"} <= different.keys()
    assert different["shop-1.0-py3-none-any.whl"]["verdict"] == "content"
    assert different["release.json"] is None
    kept = tmp_path / "kept" / "rebuilt"
    assert data["kept"] == str(tmp_path / "kept")
    assert {path.name for path in kept.iterdir()} == different.keys()

    said = user.run("reproduce", str(place), "--quick", "--keep", str(tmp_path / "kept"))
    assert said.code == DIFFERS
    assert said.error.startswith("not reproduced: ")
    assert "DIFF" in said.stdout
    assert "shop-1.0-py3-none-any.whl: content" in said.stdout


# -- other inputs -------------------------------------------------------------------------------------------


def test_a_lock_that_is_not_the_one_of_the_commit(user: User, tmp_path: Path) -> None:
    """The lock was never committed: the commit gives nobody the inputs."""
    user.ready()
    user.write(".gitignore", "pylock.build.toml\n")
    user.git("rm", "--quiet", "--cached", "pylock.build.toml")
    user.commit()
    place = publish(user, tmp_path)

    ended = user.run("reproduce", str(place), "--quick")

    assert ended.code == INPUTS_DIFFER
    assert ended.error.startswith("pylock.build.toml is not in the commit")


def test_another_version_of_the_tool(user: User, tmp_path: Path) -> None:
    user.ready()
    place = publish(user, tmp_path)
    made_with = json.loads((place / "release.json").read_bytes())["predicate"]["tools"]["buildonce"]
    info = tmp_path / "other" / "buildonce-9.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: buildonce\nVersion: 9.9\n")

    ended = user.run("reproduce", str(place), "--json", PYTHONPATH=str(info.parent))

    assert ended.code == INPUTS_DIFFER
    (problem,) = ended.data["error"]["problems"]
    assert problem["message"] == f"the release was made with buildonce {made_with}, here is 9.9"
    assert f"uvx --from buildonce=={made_with} " in problem["hint"]


def test_a_version_that_comes_out_otherwise(user: User, tmp_path: Path) -> None:
    """A tag that was given to an older commit after the release moves the version of every later one."""
    user.ready(build=("setuptools", "setuptools-scm"), version='dynamic = ["version"]', more="[tool.setuptools_scm]\n")
    user.git("tag", "v1.0")
    user.commit()
    middle = user.git("rev-parse", "HEAD")
    user.commit()
    place = publish(user, tmp_path)
    user.git("tag", "v2.0", middle)

    ended = user.run("reproduce", str(place), "--quick")

    assert ended.code == INPUTS_DIFFER
    assert ended.errors[0].startswith("error: this is made from something else")
    assert "externalParameters.version: the release has 1.1.dev2+g" in ended.stderr


def test_changes_that_were_never_committed(user: User, tmp_path: Path) -> None:
    user.ready()
    user.write("shop.py", "def main():\n    print('shut')\n")
    place = publish(user, tmp_path, "--allow-dirty")

    ended = user.run("reproduce", str(place))

    assert ended.code == FAILED
    assert ended.error.startswith("the release holds changes that were never committed")
