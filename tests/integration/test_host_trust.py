"""What is not as it was signed never comes to run: a parcel that was changed on its way, an apt repository likewise."""

from __future__ import annotations

import shutil
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from buildonce.signing import keys, openpgp
from buildonce.suites import Repository, Suite
from buildonce.system import files
from buildonce.system.disk import Disk
from buildonce.system.run import HostRunner
from tests import small_release
from tests.integration import stepwise
from tests.publishers.attacks import CARELESS, DAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from buildonce.signing import Key
    from tests.integration.beats import Beats
    from tests.integration.stepwise import Machine

SUMS = "SHA256SUMS"


@pytest.fixture(scope="module")
def deb(beats: Beats, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with stepwise.running(beats, "deb", tmp_path_factory.mktemp("host") / "deb") as machine:
        yield machine


@pytest.fixture
def machine(deb: Machine) -> Machine:
    """A host with version 1.0.0, to which nobody deploys."""
    deb.at("1.0.0")
    return deb


def refused(machine: Machine, plan: Mapping[str, Any], parcel: bytes = b"") -> str:
    """Why the host did not take it; the version before runs on, as if nothing had come."""
    started = machine.started()
    answer = machine.steps(plan, until="stage", parcel=parcel)
    assert (answer.code, answer["kind"]) == (4, "verification"), answer.told
    assert machine.step("arm").code == 1
    machine.runs("1.0.0")
    assert machine.started() == started
    assert machine.step("status")["pool"] == ["1.0.0"]
    machine.step("unlock")
    return answer.told


def flipped(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def listed(sums: bytes, name: str, data: bytes) -> bytes:
    """The sums, with other bytes for a file."""
    lines = [line for line in sums.decode().splitlines() if not line.endswith(f"  {name}")]
    return "".join(f"{line}\n" for line in sorted([*lines, f"{files.sha256_bytes(data)}  {name}"])).encode()


def read(machine: Machine, name: str) -> bytes:
    return (machine.beats["1.1.0"].folder / name).read_bytes()


def forged(machine: Machine, tmp_path: Path) -> dict[str, bytes | None]:
    """Another deb, listed and signed by somebody whom the host does not know."""
    name = machine.beats["1.1.0"].file("deb").name
    data = flipped(read(machine, name))
    sums = listed(read(machine, SUMS), name, data)
    key = small_release.key(tmp_path, "other")
    return {name: data, SUMS: sums, f"{SUMS}.asc": openpgp.sign(key, sums, time=int(time.time()))}


def another_version(machine: Machine, _: Path) -> dict[str, bytes | None]:
    """Properly signed, under the name of the one that was asked for."""
    other = machine.beats["1.2.0"]
    names = {machine.beats["1.1.0"].file("deb").name: None, other.file("deb").name: other.file("deb").read_bytes()}
    return {**names, **{name: (other.folder / name).read_bytes() for name in stepwise.FILES}}


PARCELS: dict[str, Callable[[Machine, Path], dict[str, bytes | None]]] = {
    "deb": lambda m, _: {m.beats["1.1.0"].file("deb").name: flipped(m.beats["1.1.0"].file("deb").read_bytes())},
    "sums": lambda m, _: {SUMS: flipped(read(m, SUMS))},
    "signature": lambda m, _: {f"{SUMS}.asc": flipped(read(m, f"{SUMS}.asc"))},
    "no signature": lambda m, _: {f"{SUMS}.asc": None},
    "manifest": lambda m, _: {"release.json": flipped(read(m, "release.json"))},
    "added": lambda m, _: {"postinst": b"#!/bin/sh\n"},
    "forged": forged,
    "another version": another_version,
}


@pytest.mark.parametrize("changed", PARCELS)
def test_parcel(changed: str, machine: Machine, tmp_path: Path) -> None:
    refused(machine, machine.plan("1.1.0"), machine.parcel("1.1.0", **PARCELS[changed](machine, tmp_path)))


def test_parcel_cut_off(machine: Machine) -> None:
    refused(machine, machine.plan("1.1.0"), machine.parcel("1.1.0")[:-20000])


def test_changed_on_the_host(machine: Machine) -> None:
    """Between the verification and the installation: by path apt would install anything."""
    machine.steps(machine.plan("1.1.0"), until="migrate")
    name = machine.beats["1.1.0"].file("deb").name
    machine.host.sh(f"printf x | dd of={stepwise.HOME}/pool/1.1.0/{name} bs=1 seek=9000 conv=notrunc 2>/dev/null")
    answer = machine.step("switch")
    assert (answer.code, answer["kind"]) == (4, "verification")
    assert machine.step("rollback")["state"] == "rolled_back"
    machine.runs("1.0.0")


def test_same_version_with_other_bytes(machine: Machine) -> None:
    """What runs under a version is never replaced by something else of that name."""
    row = {**machine.plan("1.0.0")["artifacts"]["debian-12"], "sha256": "0" * 64}
    answer = machine.steps(machine.plan("1.0.0", artifacts={"debian-12": row}), until="stage")
    assert "on this host already, with other bytes" in answer.told
    machine.runs("1.0.0")


def repository(beats: Beats, root: Path, *versions: str, key: Key, signed: float = -60) -> Path:
    """A repository with *versions*, signed so many seconds from now, good for a month."""
    root.mkdir()
    made, packages = Repository(Disk(root), HostRunner()), []
    for version in versions:
        deb = beats[version].file("deb")
        (root / "pool/main/b/beat").mkdir(parents=True, exist_ok=True)
        shutil.copy(deb, root / "pool/main/b/beat")
        packages.append(made.scan(f"pool/main/b/beat/{deb.name}"))
    suite = Suite(name="bookworm", origin="beat", packages=tuple(packages), days=30)
    made.write(suite, key, now=int(time.time() + signed))
    return root


@pytest.fixture(scope="module")
def key(beats: Beats) -> Key:
    """The key of the releases, which signs the repository, too."""
    assert beats["1.0.0"].version == "1.0.0"
    return keys.load(beats.key.with_suffix(".key"), bytes)


@pytest.fixture(scope="module")
def genuine(beats: Beats, key: Key, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository(beats, tmp_path_factory.mktemp("apt") / "debian", "1.0.0", "1.1.0", key=key)


def from_apt(machine: Machine, version: str) -> dict[str, Any]:
    """A plan whose hosts ask the repository; nobody says which bytes it has."""
    plan = {**machine.plan("1.1.0", source="apt"), "version": version}
    row = {**plan["artifacts"]["debian-12"], "package": f"{version}-1+deb12", "file": "", "sha256": "", "size": 0}
    apt = {"uri": "file:///srv/debian", "suite": "{codename}", "component": "main"}
    return {**plan, "artifacts": {"debian-12": row}, "apt": apt}


def serve(machine: Machine, folder: Path) -> None:
    machine.host.run("rm", "-rf", "/srv/debian", "/srv/new")
    machine.host.run("mv", machine.host.put(folder, "/srv/new"), "/srv/debian")


def changed(genuine: Path, into: Path, pattern: str, change: Callable[[bytes], bytes]) -> Path:
    """The repository with other bytes in the files of *pattern*."""
    shutil.copytree(genuine, into)
    found = [path for path in into.glob(pattern) if path.is_file()]
    assert found
    for path in found:
        path.write_bytes(change(path.read_bytes()))
    return into


def test_from_apt(machine: Machine, genuine: Path) -> None:
    """Up, back, and a version that was never published."""
    serve(machine, genuine)
    assert machine.steps(from_apt(machine, "1.1.0")).code == 0
    machine.runs("1.1.0")
    again = machine.preflight(from_apt(machine, "1.1.0"))
    assert (again["unchanged"], again["problems"]) == (True, [])
    missing = machine.steps(from_apt(machine, "1.9.0"), until="stage")
    assert missing.code == 1
    assert "beat=1.9.0-1+deb12 is not published" in missing.told
    machine.step("unlock")
    assert machine.steps(machine.plan("", mode="rollback", artifacts={})).code == 0
    machine.runs("1.0.0")


def flip(word: bytes, data: bytes) -> bytes:
    assert word in data
    return data.replace(word, word.swapcase())


BOTH, EXPIRED = ("1.0.0", "1.1.0"), -31 * DAY
REPOSITORIES: dict[str, Callable[[Beats, Path, Path, Key], Path]] = {
    "InRelease": lambda _, good, into, __: changed(good, into, "dists/*/InRelease", partial(flip, b"Valid-Until")),
    "Packages": lambda _, good, into, __: changed(good, into, "dists/**/binary-amd64/**/*", flipped),
    "deb": lambda _, good, into, __: changed(good, into, "pool/**/*.deb", flipped),
    "expired": lambda beats, _, into, key: repository(beats, into, *BOTH, key=key, signed=EXPIRED),
    "from the future": lambda beats, _, into, key: repository(beats, into, *BOTH, key=key, signed=DAY),
    "another key": lambda beats, _, into, __: repository(
        beats, into, *BOTH, key=small_release.key(into.parent, "other")
    ),
}


@pytest.mark.parametrize("state", REPOSITORIES)
def test_apt_repository(state: str, beats: Beats, genuine: Path, key: Key, machine: Machine, tmp_path: Path) -> None:
    """A host that knows the good lists, and whose administrator has told apt to be careless.

    Lists that it has are not asked for again: for those that were changed it has to be new.
    """
    serve(machine, genuine)
    machine.steps(from_apt(machine, "1.1.0"), until="stage")
    machine.step("unlock")
    machine.host.run("rm", "-r", f"{stepwise.HOME}/pool/1.1.0")
    if state == "Packages":
        machine.host.sh("rm -r /var/lib/apt/lists/*")
    serve(machine, REPOSITORIES[state](beats, genuine, tmp_path / "debian", key))
    machine.write("/etc/apt/apt.conf.d/99careless", CARELESS)
    try:
        refused(machine, from_apt(machine, "1.1.0"))
    finally:
        machine.host.run("rm", "/etc/apt/apt.conf.d/99careless")
