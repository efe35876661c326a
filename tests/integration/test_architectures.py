"""A release for two architectures, made on one of them: the other's artifacts are checked, and run under qemu.

Building uses no emulator. Here one runs, by hand, what was made: the arm64 interpreter of the image with the
application and its compiled dependencies.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tomli_w

from buildonce import elf
from buildonce.system import files
from tests import registries
from tests.integration import hosts
from tests.integration.conftest import EXAMPLES, Built, Example, repository
from tests.integration.rebuilding import listing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NATIVE, FOREIGN = "debian-12", "debian-12-arm64"
IMPORTS = "import cryptography.hazmat.bindings._rust, hello.cli, markupsafe._speedups, sys, platform, ctypes.util"
RELEASE = "hello-1.2.0"


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Example:
    """``examples/hello`` for both, with two dependencies that have machine code."""
    root = tmp_path_factory.mktemp("project") / "hello"
    shutil.copytree(EXAMPLES / "hello", root, ignore=shutil.ignore_patterns("__pycache__"))
    project = tomllib.loads((root / "pyproject.toml").read_text())
    project["project"]["dependencies"] += ["cryptography", "markupsafe"]
    project["tool"] = {**project.get("tool", {}), "release": {"targets": [NATIVE, FOREIGN]}}
    (root / "pyproject.toml").write_text(tomli_w.dumps(project))
    return repository(root, tag="v1.2.0", XDG_CONFIG_HOME=str(home))


@dataclass(frozen=True)
class Release(Built):
    """A release for several targets."""

    said: str = ""

    def of(self, kind: str, target: str | None) -> Path:
        """The artifact of *kind* for *target*."""
        (row,) = (r for r in self.data["artifacts"] if (r["format"], r["target"]) == (kind, target))
        return self.folder / str(row["file"])


@pytest.fixture(scope="module")
def made(hello: Example) -> Release:
    done = hello.run("build", "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    return Release(Path(data["dir"]), data, done.stderr)


def test_everything_but_the_deb_is_made_for_both(made: Release) -> None:
    found = {(row["format"], row["target"]) for row in made.data["artifacts"]}
    assert found == {
        *((kind, target) for kind in ("wheelhouse", "pex", "oci") for target in (NATIVE, FOREIGN)),
        *((kind, None) for kind in ("wheel", "sdist", "oci-index")),
        ("deb", NATIVE),
    }
    assert f"no deb for {FOREIGN}" in made.said
    assert f"{FOREIGN} is not this machine's: its console scripts are looked up, not imported" in made.said
    sums = (made.folder / "SHA256SUMS").read_text()
    assert all(row["file"] in sums for row in made.data["artifacts"])


def test_verify_proves_all_of_it(hello: Example, made: Release) -> None:
    assert len(hello.release("verify", str(made.folder))["artifacts"]) == len(made.data["artifacts"])


def test_an_index_that_is_not_the_images_is_noticed(hello: Example, made: Release, tmp_path: Path) -> None:
    """Signed again by its owner: the proof has to find it, not the digest."""
    manifest = json.loads((made.folder / "release.json").read_bytes())["predicate"]
    (row,) = (one for one in manifest["artifacts"] if one["kind"] == "oci-index")
    digests = {path: sha256 for path, _, _, _, sha256, *_ in row["extras"]}
    for target in (NATIVE, FOREIGN):
        assert digests[f"{target}/image:manifest"] == digest_of(made.of("oci", target)).removeprefix("sha256:")


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Every file in an artifact, those of wheels and layers too."""
    if path.suffix == ".pex":
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield from _inner(name, archive.read(name))
    else:
        with tarfile.open(path) as tar:
            for info in tar:
                if info.isreg() and (stream := tar.extractfile(info)) is not None:
                    yield from _inner(info.name, stream.read())


def _inner(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    if name.endswith(".whl"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield from ((f"{name}/{inner}", archive.read(inner)) for inner in archive.namelist())
    elif data[:2] == b"\x1f\x8b":
        with tarfile.open(fileobj=io.BytesIO(data)) as layer:
            for info in layer:
                if info.isreg() and (stream := layer.extractfile(info)) is not None:
                    yield f"{name}/{info.name}", stream.read()
    else:
        yield name, data


@pytest.mark.parametrize(("target", "machine"), [(NATIVE, "x86_64"), (FOREIGN, "aarch64")])
@pytest.mark.parametrize("kind", ["wheelhouse", "pex", "oci"])
def test_every_object_is_code_for_its_machine(
    kind: str, target: str, machine: str, made: Release, tmp_path: Path
) -> None:
    code = tmp_path / "code"
    found = []
    for name, data in members(made.of(kind, target)):
        if data[:4] == b"\x7fELF":
            code.write_bytes(data)
            assert elf.runs_on(code, machine), name
            found.append(name)
    assert any("_speedups" in name for name in found)
    assert any("_rust" in name for name in found)
    assert kind != "oci" or any(name.endswith("usr/bin/python3.11") for name in found)


# -- run ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(made: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the arm64 image shows as ``/``."""
    into, image = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("image")
    with tarfile.open(made.of("oci", FOREIGN)) as archive:
        archive.extractall(image, filter="data")
    (described,) = json.loads((image / "manifest.json").read_bytes())
    for layer in described["Layers"]:
        with tarfile.open(image / layer) as archive:
            archive.extractall(into, filter="tar")
    return into


@pytest.fixture(scope="module")
def emulated(root: Path) -> Callable[..., str]:
    """Runs a program of the image: files are looked up in it first."""

    def run(program: str, *arguments: str, name: str = "") -> str:
        place = str(root / program.lstrip("/"))
        argv = ["qemu-aarch64", "-L", str(root), "-0", name or program, place, *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env={"LC_ALL": "C.UTF-8"})
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def in_image(root: Path, script: str) -> str:
    return str(root / script.lstrip("/"))


def test_the_application_runs_on_the_other_architecture(root: Path, emulated: Callable[..., str]) -> None:
    python, venv = "/usr/bin/python3.11", "/opt/venvs/hello/bin/python"
    facts = "print(sys.prefix, platform.machine(), ctypes.util.find_library('ssl'))"
    assert emulated(python, "-c", f"{IMPORTS}; {facts}", name=venv).split() == [
        "/opt/venvs/hello",
        "aarch64",
        "libssl.so.3",
    ]
    assert "Hello, Ada!" in emulated(python, in_image(root, "/opt/venvs/hello/bin/hello"), "Ada", name=venv)
    assert "tini version" in emulated("/usr/bin/tini", "--version")


def test_the_linkers_cache_is_the_one_that_its_own_ldconfig_makes(root: Path, tmp_path: Path) -> None:
    again = tmp_path / "root"
    shutil.copytree(root, again, symlinks=True, ignore=shutil.ignore_patterns("opt", "share", "python3*"))
    ours = (again / "etc/ld.so.cache").read_bytes()
    (again / "etc/ld.so.cache").unlink()
    ldconfig = str(again / "usr/sbin/ldconfig")
    subprocess.run(["qemu-aarch64", "-L", str(root), ldconfig, "-r", str(again), "-X"], check=True)
    assert (again / "etc/ld.so.cache").read_bytes() == ours
    assert b"libssl.so.3\0" in ours


COMPILE = """
import pathlib, py_compile, sys
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
for line in open(sys.argv[1]):
    source, compiled = line.split()
    made = py_compile.compile(source, cfile=sys.argv[1] + "c", doraise=True, optimize=0, invalidation_mode=mode)
    if pathlib.Path(made).read_bytes() != pathlib.Path(compiled).read_bytes():
        print(source)
"""


def test_its_own_interpreter_makes_the_same_bytecode(root: Path, emulated: Callable[..., str], tmp_path: Path) -> None:
    """All of the application, and what stands at the top of the standard library."""
    pairs = []
    for folder, pattern in (("opt/venvs/hello/lib", "**/*.pyc"), ("usr/lib/python3.11", "__pycache__/*.pyc")):
        for path in sorted((root / folder).glob(pattern)):
            source = path.parent.parent / f"{path.name.partition('.')[0]}.py"
            pairs.append(" ".join(f"/{one.relative_to(root)}" for one in (source, path)))
    (tmp_path / "pairs").write_text("\n".join(pairs))
    assert len(pairs) > 250
    assert emulated("/usr/bin/python3.11", "-S", "-c", COMPILE, str(tmp_path / "pairs")) == ""


def test_uv_takes_the_wheelhouse_for_the_other_architecture(
    made: Release, emulated: Callable[..., str], tmp_path: Path
) -> None:
    with tarfile.open(made.of("wheelhouse", FOREIGN)) as archive:
        archive.extractall(tmp_path / "house", filter="data")
    command = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--target", str(tmp_path / "site")]
    options = [
        "--no-index",
        "--find-links=wheels",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
        "--quiet",
        "--no-cache",
    ]
    there = ["--python-version=3.11", "--python-platform=aarch64-manylinux_2_36"]
    house = tmp_path / "house"
    subprocess.run([*command, *options, *there, "--requirement", "requirements.txt"], cwd=house, check=True)
    script = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); {IMPORTS}; print(hello.cli.__file__)"
    assert str(tmp_path / "site") in emulated("/usr/bin/python3.11", "-c", script)


# -- the index ----------------------------------------------------------------------------------------------


def digest_of(archive: Path) -> str:
    """The digest of the one thing that an image archive names."""
    with tarfile.open(archive) as found:
        stream = found.extractfile("index.json")
        assert stream is not None
        (described,) = json.loads(stream.read())["manifests"]
    return str(described["digest"])


def skopeo(*arguments: str) -> bytes:
    return subprocess.run(["skopeo", *arguments], check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty registry on this machine; answers its host and port."""
    with registries.running(tmp_path_factory.mktemp("registry")) as found:
        yield found.host


def test_pushed_whole_every_image_keeps_its_digest(made: Release, registry: str, tmp_path: Path) -> None:
    index = made.of("oci-index", None)
    reference = f"docker://{registry}/hello:1.2.0"
    skopeo("copy", "--quiet", "--all", "--dest-tls-verify=false", f"oci-archive:{index}", reference)

    pushed = skopeo("inspect", "--raw", "--tls-verify=false", reference)
    assert f"sha256:{files.sha256_bytes(pushed)}" == digest_of(index)
    children = {child["platform"]["architecture"]: child["digest"] for child in json.loads(pushed)["manifests"]}
    assert children == {
        "amd64": digest_of(made.of("oci", NATIVE)),
        "arm64": digest_of(made.of("oci", FOREIGN)),
    }
    for architecture, digest in children.items():
        by_digest = f"docker://{registry}/hello@{digest}"
        skopeo("copy", "--quiet", "--src-tls-verify=false", by_digest, f"dir:{tmp_path / architecture}")
        found = (tmp_path / architecture / "manifest.json").read_bytes()
        assert f"sha256:{files.sha256_bytes(found)}" == digest
        config = json.loads(skopeo("inspect", "--config", "--raw", "--tls-verify=false", by_digest))
        assert config["architecture"] == architecture


def test_an_engine_pulls_its_own_architecture_and_runs_it(made: Release, registry: str) -> None:
    index = made.of("oci-index", None)
    reference = f"{registry}/pulled:1.2.0"
    skopeo("copy", "--quiet", "--all", "--dest-tls-verify=false", f"oci-archive:{index}", f"docker://{reference}")
    with hosts.engine() as client:
        image = client.images.pull(registry + "/pulled", tag="1.2.0")
        try:
            assert image.attrs["Architecture"] == "amd64"
            said = client.containers.run(image, ["Ada"], remove=True, network_mode="none")
            assert b"Hello, Ada!" in said
        finally:
            client.images.remove(image.id, force=True)


def test_docker_loads_every_image_of_the_index(made: Release) -> None:
    with hosts.engine() as client, made.of("oci-index", None).open("rb") as stream:
        images = client.images.load(stream)
        try:
            assert {(tag, image.attrs["Architecture"]) for image in images for tag in image.tags} == {
                ("hello:1.2.0-amd64", "amd64"),
                ("hello:1.2.0-arm64", "arm64"),
            }
        finally:
            for image in images:
                client.images.remove(image.id, force=True)


# -- again --------------------------------------------------------------------------------------------------


def test_out_of_a_bundle_of_inputs_and_with_an_empty_store_every_byte_is_the_same(
    hello: Example, made: Release, tmp_path: Path
) -> None:
    hello.release("bundle", "--inputs", "--out", str(tmp_path / "inputs.tar"))
    places = {"BUILDONCE_VAULT": str(tmp_path / "inputs.tar"), "BUILDONCE_STORE": str(tmp_path / "store")}
    again = hello.release("build", "--offline", "--out", str(tmp_path / "out"), **places)
    assert listing(Path(again["dir"])) == listing(made.folder)


def test_reproduced_under_everything_that_must_not_matter(hello: Example, made: Release) -> None:
    data = hello.release("reproduce", str(made.folder), "--vary")
    assert data["identical"] is True
    assert {row["file"] for row in data["files"] if row["same"]} >= {row["file"] for row in made.data["artifacts"]}


def test_only_the_other_architecture_is_the_same_again(hello: Example, made: Release, tmp_path: Path) -> None:
    """Without the target whose build root it uses among what is built; and then there is nothing to join."""
    again = hello.release("build", "--target", FOREIGN, "--out", str(tmp_path))
    found = listing(Path(again["dir"]))
    alone = {row["file"] for row in again["artifacts"]}
    assert {row["format"] for row in again["artifacts"]} == {"wheel", "sdist", "wheelhouse", "pex", "oci"}
    assert {name: found[name] for name in alone} == {name: listing(made.folder)[name] for name in alone}


def test_a_deb_that_was_asked_for_by_name_is_not_left_out_in_silence(hello: Example, tmp_path: Path) -> None:
    done = hello.run("build", "--target", FOREIGN, "--format", "deb", "--out", str(tmp_path))
    assert done.returncode == 3
    assert f"no deb for {FOREIGN}" in done.stderr
    assert "hint:" in done.stderr


def test_the_plan_says_what_is_made_where(hello: Example, made: Release) -> None:
    plan = hello.release("plan")
    rows = {row["target"]: row for row in plan["targets"]}
    assert rows[FOREIGN]["formats"] == ["wheel", "pex", "oci"]
    assert (rows[FOREIGN]["builder"], rows[FOREIGN]["build_root"]) == (NATIVE, True)
    assert rows[FOREIGN]["missing"] == 0
