"""One release for Debian 12 and 13, deployed to a fleet of both: each host gets what was made for it.

Since Debian 13 apt has sqv check signatures, and no gpgv is there.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Final

import pytest

from buildonce.signing import openpgp
from tests import small_release
from tests.integration import beats, hosts
from tests.integration import fleet as fleets
from tests.integration.conftest import repository
from tests.integration.deploying import Deployer, debian, environment, sound
from tests.integration.machines import IMAGE, NEWER, NEWER_PODMAN, Engine
from tests.integration.test_two_targets import BOTH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.fleet import Fleet

HOSTS: Final = {
    "twelve": Engine(image=IMAGE, options={}),
    "thirteen": Engine(image=NEWER, options={}),
    "podman": NEWER_PODMAN,
}
HOME: Final = "/var/lib/release/beat"
# What the host says of a release in a folder, and of keys that it trusts, by the code that it was brought.
JUDGE: Final = f"""\
import json, pathlib, sys
sys.path.insert(0, "{HOME}/host.pyz")
import problems, trust
try:
    trust.signature(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
except problems.Refused as refused:
    print(json.dumps(refused.problem.fields()))
else:
    print("null")
"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with fleets.running(0, balancer=False, engines=HOSTS) as found:
        yield found


@pytest.fixture(scope="module")
def ana(fleet: Fleet, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Deployer:
    """Has two releases for both."""
    folder = tmp_path_factory.mktemp("ana")
    root = folder / "beat"
    shutil.copytree(beats.PROJECT, root, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    with (root / "pyproject.toml").open("a") as settings:
        settings.write(
            BOTH
            + environment("both", fleet.inventory_of("twelve", "thirteen"))
            + environment("image", fleet.inventory_of("podman"), format="oci", engine="podman")
        )
    site = repository(root, tag="v1.0.0", XDG_CONFIG_HOME=str(home))
    site.release("build")
    site.commit("Version 1.1.0", **{"README.md": "# beat\n\nSays its version over HTTP.\n"})
    site.git("tag", "v1.1.0")
    site.release("build")
    return Deployer(site, folder / "state")


def test_its_life(ana: Deployer, fleet: Fleet) -> None:
    assert ana.report("deploy", "both", "1.0.0").states == {"twelve": "confirmed", "thirteen": "confirmed"}
    assert ana.report("deploy", "both", "1.1.0").verdict == "succeeded"
    sound(fleet, "1.1.0", "twelve", "thirteen")
    assert {name: debian(fleet.nodes[name]) for name in ("twelve", "thirteen")} == {
        "twelve": "1.1.0-1+deb12",
        "thirteen": "1.1.0-1+deb13",
    }
    assert ana.report("rollback", "both").versions == dict.fromkeys(("twelve", "thirteen"), ("1.1.0", "1.0.0"))
    sound(fleet, "1.0.0", "twelve", "thirteen")


def test_an_image_under_podman(ana: Deployer, fleet: Fleet) -> None:
    """Which has another store, another network and another cgroup driver than docker."""
    for version in ("1.0.0", "1.1.0"):
        assert ana.report("deploy", "image", version).states == {"podman": "confirmed"}
        sound(fleet, version, "podman", form="oci")
    assert ana.report("deploy", "image", "1.1.0").verdict == "unchanged"
    fleet.power_cut("podman")
    hosts.until(lambda: fleet.nodes["podman"].healthy(version="1.1.0"))
    assert ana.report("rollback", "image").versions == {"podman": ("1.1.0", "1.0.0")}
    sound(fleet, "1.0.0", "podman", form="oci")


def test_bare(fleet: Fleet) -> None:
    """None of them has what an installation must not need."""
    assert {name: fleet.too_much(name) for name in fleet.hosts} == dict.fromkeys(HOSTS, "")


@pytest.mark.parametrize(("name", "program", "other"), [("twelve", "gpgv", "sqv"), ("thirteen", "sqv", "gpgv")])
def test_whose_signature(name: str, program: str, other: str, ana: Deployer, fleet: Fleet, tmp_path: Path) -> None:
    """The one program or the other, which say the same."""
    node = fleet.hosts[name]
    assert node.succeeds("which", program)
    assert not node.succeeds("which", other)
    release = f"{HOME}/pool/1.0.0"
    keys = "/etc/release/keys/beat.gpg"

    (tmp_path / "judge.py").write_text(JUDGE)
    node.put(tmp_path / "judge.py", "/srv")

    def judged(folder: str, keyring: str) -> str:
        said = json.loads(node.sh(f"/usr/bin/python3 /srv/judge.py {folder} {keyring} 2>/dev/null"))
        return str(said["kind"]) if said else "good"

    assert judged(release, keys) == "good"
    node.sh(f"cp -r {release} /srv/changed; echo >>/srv/changed/SHA256SUMS")
    assert judged("/srv/changed", keys) == "verification"
    stranger = small_release.key(tmp_path, "stranger")
    (tmp_path / "stranger.gpg").write_bytes(openpgp.certificate(stranger))
    assert judged(release, node.put(tmp_path / "stranger.gpg", "/srv")) == "verification"
