"""Images from a real stage: read back, compared, the same bytes twice, loaded by every tool, and run."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import docker
import pytest
from elftools.elf.elffile import ELFFile

from buildonce import tree
from buildonce.builders.oci import OciBuilder
from buildonce.errors import VerificationError
from buildonce.oci.configuration import CONFIG_ENTRY
from buildonce.system import archive as archives
from buildonce.system import compress, execution, files, share
from buildonce.system.store import Store
from tests.oci import image_stage
from tests.oci.test_reading import Parts, described, parts_of, place, replace_all, rewrite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buildonce.model import Artifact, Contents
    from buildonce.stage import Stage

REFERENCE = "shop:1.2.4.dev5_g1a2b3c4"
PYTHON = "/usr/bin/python3.11"


def build(stage: Stage, into: Path) -> Artifact:
    into.mkdir(exist_ok=True)
    (artifact,) = OciBuilder().build(stage, into, image_stage.runner())
    return artifact


def read(path: Path) -> Contents:
    return OciBuilder().read(path, "oci", name="shop", interpreter=PYTHON)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return image_stage.stage(tmp_path_factory.mktemp("stage"))


@pytest.fixture(scope="module")
def artifact(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return build(stage, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def contents(artifact: Artifact) -> Contents:
    return read(artifact.path)


@pytest.fixture(scope="module")
def image(artifact: Artifact) -> Iterator[Any]:
    """The image in the Docker engine, loaded through the ``docker`` package."""
    client = docker.from_env()
    with artifact.path.open("rb") as stream:
        (loaded,) = client.images.load(stream)
    yield loaded
    with contextlib.suppress(docker.errors.ImageNotFound):
        client.images.remove(str(loaded.id), force=True)
    client.close()


HARDENED: dict[str, Any] = {
    "read_only": True,
    "network_mode": "none",
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}


def run(image: Any, *command: str, **options: Any) -> str:
    """What *command* says in a container of *image* that may do nothing."""
    client = docker.from_env()
    try:
        said: bytes = client.containers.run(
            image.id, list(command[1:]), entrypoint=list(command[:1]), remove=True, **HARDENED, **options
        )
    finally:
        client.close()
    return said.decode()


@contextlib.contextmanager
def served(image: Any) -> Iterator[Any]:
    client = docker.from_env()
    container = client.containers.run(image.id, detach=True, **HARDENED)
    try:
        yield container
    finally:
        container.remove(force=True)
        client.close()


pytestmark = pytest.mark.integration


def test_the_image_holds_the_tree_and_what_was_meant(stage: Stage, artifact: Artifact, contents: Contents) -> None:
    assert artifact.file == "shop-1.2.4.dev5+g1a2b3c4-debian-12.oci.tar"
    assert (contents.name, contents.version) == ("shop", "1.2.4.dev5+g1a2b3c4")
    assert tree.difference((*stage.tree.entries, *artifact.extras), contents.entries) == ()


def test_there_is_no_shell_no_package_manager_and_no_compiler(contents: Contents) -> None:
    programs = {e.path for e in contents.entries if re.match(r"usr/(s?bin|games)/", e.path)}
    assert programs == {"usr/bin/python3", "usr/bin/python3.11", "usr/bin/tini", "usr/sbin/ldconfig"}
    forbidden = re.compile(r"(^|/)(sh|bash|dash|busybox|perl|apt|dpkg|gcc|cc|curl|wget)$")
    assert [
        e.path for e in contents.entries if forbidden.search(e.path) and not e.path.startswith("var/lib/dpkg/")
    ] == []
    assert [e.path for e in contents.entries if e.mode & 0o6000 and not e.link] == []
    assert [e.path for e in contents.entries if e.mode & 0o022 and not e.link] == ["tmp/", "var/tmp/"]


def test_scanners_find_the_packages_and_the_distribution(contents: Contents) -> None:
    paths = {entry.path for entry in contents.entries}
    assert {"usr/lib/os-release", "etc/os-release", "var/lib/dpkg/status.d/libc6"} <= paths
    packages = {Path(path).name for path in paths if path.startswith("var/lib/dpkg/status.d/")}
    assert {"libssl3", "python3.11", "tzdata", "ca-certificates"} <= packages
    assert not {"dpkg", "perl-base", "debconf", "tar"} & packages
    licensed = {Path(path).parent.name for path in paths if re.fullmatch(r"usr/share/doc/[^/]+/copyright", path)}
    linked = {Path(path).name for path in paths if re.fullmatch(r"usr/share/doc/[^/]+", path)}
    assert packages <= licensed | linked


def test_the_same_bytes_whatever_surrounds_the_build(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No layer comes from the store: it is emptied by building with copies of the packages in another one."""
    other = Store(tmp_path / "store")
    pins, paths = image_stage.os_packages()
    copies = []
    for pin, path in zip(pins, paths, strict=True):
        copy = other.place(pin.file.sha256, path.name)
        copy.parent.mkdir(parents=True)
        files.copy_file(path, copy)
        copies.append(copy)
    again = image_stage.stage(tmp_path / "elsewhere")
    there = {path.name: path for path in copies}
    runtime = tuple(dataclasses.replace(one, path=there[one.path.name]) for one in again.runtime)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("LC_ALL", "C")
    before = os.umask(0o077)
    try:
        again = dataclasses.replace(again, deb_files=tuple(copies), runtime=runtime, store=other)
        second = build(again, tmp_path / "out")
    finally:
        os.umask(before)
    assert (tmp_path / "store/oci-layer").is_dir()
    assert second.sha256 == artifact.sha256
    assert second.path.stat().st_mode & 0o777 == 0o644
    assert second.extras == artifact.extras


def test_one_line_changes_one_layer(artifact: Artifact, tmp_path: Path) -> None:
    changed = image_stage.stage(tmp_path / "stage", source=image_stage.APP + "# one line\n")
    other = build(changed, tmp_path / "out")
    before, after = (set(parts_of(one.path)) for one in (artifact, other))
    _, manifest, _ = described(parts_of(other.path))
    expected = {
        place(manifest["layers"][-1]["digest"]),
        place(manifest["config"]["digest"]),
        place(described(parts_of(other.path))[0]["manifests"][0]["digest"]),
    }
    assert after - before == expected


def test_an_unchanged_build_compresses_nothing(
    stage: Stage, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: bytes) -> bytes:
        raise AssertionError("compressed")

    monkeypatch.setattr(compress, "gzip", fail)
    assert build(stage, tmp_path / "out").sha256 == artifact.sha256


def test_layers_hold_one_time_and_the_commits_time_is_in_the_configuration_only(artifact: Artifact) -> None:
    parts = parts_of(artifact.path)
    _, manifest, config = described(parts)
    assert config["created"] == "2023-11-14T22:13:20Z"
    for layer in manifest["layers"]:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(parts[place(layer["digest"])]))) as layer_tar:
            assert {member.mtime for member in layer_tar} == {archives.EPOCH}


def test_every_library_that_something_needs_is_there(artifact: Artifact, tmp_path: Path) -> None:
    """What leaving out packages rests on: no ELF file is linked against something that is not there."""
    parts, found = parts_of(artifact.path), {}
    for layer in described(parts)[1]["layers"]:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(parts[place(layer["digest"])]))) as layer_tar:
            for member in layer_tar:
                data = layer_tar.extractfile(member).read() if member.isreg() else b""  # type: ignore[union-attr]
                found[member.name] = data
    there = {Path(name).name for name in found}
    needed: dict[str, str] = {}
    for name, data in found.items():
        if data.startswith(b"\x7fELF"):
            section = ELFFile(io.BytesIO(data)).get_section_by_name(".dynamic")
            for tag in section.iter_tags("DT_NEEDED") if section else ():
                needed.setdefault(tag.needed, name)
    assert len(needed) > 20
    assert {soname: name for soname, name in needed.items() if soname not in there} == {}


def test_the_cache_of_libraries_is_that_of_the_real_ldconfig_as_root(
    contents: Contents, artifact: Artifact, tmp_path: Path
) -> None:
    """In the build root ldconfig cannot chroot and goes another way; the result has to be the same."""
    if os.geteuid():
        pytest.fail("this test has to run as root, in CI in a container")
    parts = parts_of(artifact.path)
    layer = described(parts)[1]["layers"][0]
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(parts[place(layer["digest"])]))) as layer_tar:
        layer_tar.extractall(tmp_path / "root", filter="tar")
    ours = (tmp_path / "root/etc/ld.so.cache").read_bytes()
    (tmp_path / "root/etc/ld.so.cache").unlink()
    subprocess.run([tmp_path / "root/usr/sbin/ldconfig", "-r", tmp_path / "root", "-X"], check=True)
    assert (tmp_path / "root/etc/ld.so.cache").read_bytes() == ours


def test_it_runs_with_nothing_allowed(image: Any) -> None:
    facts = json.loads(run(image, "/opt/venvs/shop/bin/shop"))
    assert facts["uid"] == 65532
    assert facts["prefix"] == "/opt/venvs/shop"
    assert facts["greeting"] == "good morning"
    assert facts["certificates"] > 100
    assert facts["zone"] == "Europe/Paris"
    assert facts["libc"] == "libc.so.6"
    assert facts["speedups"] == "markupsafe._speedups"
    assert facts["compiled"]
    assert not facts["writable"]


def test_the_whole_standard_library_imports(image: Any) -> None:
    code = (
        "import sys, importlib\n"
        "left = {'idlelib', 'tkinter', 'turtle', 'turtledemo', 'lib2to3', 'distutils', 'ensurepip'}\n"
        "left |= {'antigravity', 'this'}\n"
        "windows = {'msilib', 'msvcrt', 'nt', 'winreg', 'winsound', '_winapi', '_msi', '_overlapped'}\n"
        "for name in sorted(sys.stdlib_module_names - left - windows):\n"
        "    try: importlib.import_module(name)\n"
        "    except ImportError as error: print(name, error)\n"
    )
    said = run(image, PYTHON, "-W", "ignore", "-c", code)
    # Not built on Linux, or in Debian packages of their own (python3-tk, -gdbm).
    assert {line.split()[0] for line in said.splitlines()} <= {
        *("_gdbm", "_tkinter", "_scproxy", "_posixshmem_", "nturl2path", "_bootsubprocess", "_curses_"),
    }


def test_a_running_service_is_healthy_and_stops_at_once(image: Any) -> None:
    with served(image) as container:
        asked = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080/').read().decode())"
        execute = functools.partial(execution.execute, container.client.api, container.id)
        end = time.monotonic() + 30
        while (said := execute([PYTHON, "-W", "ignore", "-c", asked])).code and time.monotonic() < end:
            time.sleep(0.2)
        assert json.loads(said.stdout)["uid"] == 65532, said
        health = ["-I", "-S", "/usr/lib/buildonce/health.py"]
        assert execute([PYTHON, *health, "http://127.0.0.1:8080/health"]).code == 0
        assert execute([PYTHON, *health, "http://127.0.0.1:8080/ill"]).code == 1
        for _ in range(150):
            container.reload()
            if container.attrs["State"]["Health"]["Status"] == "healthy":
                break
            time.sleep(0.2)
        assert container.attrs["State"]["Health"]["Status"] == "healthy"
        start = time.monotonic()
        container.stop(timeout=20)
        assert time.monotonic() - start < 10
        container.reload()
        assert container.attrs["State"]["ExitCode"] == 143


def test_docker_sees_the_names_the_labels_and_the_identity(image: Any, artifact: Artifact) -> None:
    assert image.tags == [REFERENCE]
    _, manifest, _ = described(parts_of(artifact.path))
    assert image.id == manifest["config"]["digest"]
    assert image.labels["org.opencontainers.image.version"] == "1.2.4.dev5+g1a2b3c4"
    assert image.labels["org.opencontainers.image.source"] == "https://example.org/shop"
    assert image.attrs["Config"]["User"] == "65532:65532"


def test_podman_loads_it(artifact: Artifact) -> None:
    said = subprocess.run(["podman", "load", "--input", artifact.path], check=True, capture_output=True, text=True)
    name = f"localhost/{REFERENCE}"
    try:
        assert name in said.stdout
        inspected = json.loads(
            subprocess.run(["podman", "image", "inspect", name], check=True, capture_output=True).stdout
        )
        index, _, _ = described(parts_of(artifact.path))
        assert inspected[0]["Digest"] == index["manifests"][0]["digest"]
        assert inspected[0]["User"] == "65532:65532"
    finally:
        subprocess.run(["podman", "image", "rm", "--force", name], check=True, capture_output=True)


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_skopeo_copies_it(artifact: Artifact, tmp_path: Path, transport: str) -> None:
    subprocess.run(["skopeo", "copy", f"{transport}:{artifact.path}", f"dir:{tmp_path / 'out'}"], check=True)
    copied = json.loads((tmp_path / "out/manifest.json").read_bytes())
    assert copied["config"]["digest"] == described(parts_of(artifact.path))[1]["config"]["digest"]


def test_a_changed_file_is_found(stage: Stage, artifact: Artifact, tmp_path: Path) -> None:
    """Somebody who can make every digest true still cannot change what the Tree says."""
    changed = tmp_path / artifact.file
    changed.write_bytes(artifact.path.read_bytes())

    def change(parts: Parts) -> None:
        _, manifest, config = described(parts)
        old = manifest["layers"][-1]
        plain = gzip.decompress(parts.pop(place(old["digest"])))
        plain = (
            plain.replace(b"good morning", b"gone evening")
            if b"good morning" in plain
            else plain.replace(b"well", b"ill!")
        )
        data = gzip.compress(plain)
        old.update(digest=f"sha256:{hashlib.sha256(data).hexdigest()}", size=len(data))
        config["rootfs"]["diff_ids"][-1] = f"sha256:{hashlib.sha256(plain).hexdigest()}"
        parts[place(old["digest"])] = data
        replace_all(parts, manifest, config)

    rewrite(changed, change)
    difference = tree.difference((*stage.tree.entries, *artifact.extras), read(changed).entries)
    assert [line for line in difference if "content differs: " in line] == list(difference)
    assert difference


def test_the_image_of_another_interpreter_is_refused(artifact: Artifact) -> None:
    with pytest.raises(VerificationError, match=r"no /usr/bin/python3\.13"):
        OciBuilder().read(artifact.path, "oci", name="shop", interpreter="/usr/bin/python3.13")


def test_an_own_base_image(stage: Stage, artifact: Artifact, tmp_path: Path) -> None:
    """The image itself is the base of another: its layers come first, byte for byte, and docker runs it."""
    digest = described(parts_of(artifact.path))[0]["manifests"][0]["digest"]
    (tmp_path / "base.tar").write_bytes(artifact.path.read_bytes())
    settings = {**image_stage.SERVICE, "image": {"base": f"base.tar@{digest}"}}
    other = image_stage.stage(tmp_path / "stage", settings=settings)
    other = dataclasses.replace(other, project=dataclasses.replace(other.project, root=tmp_path))
    made = build(other, tmp_path / "out")
    assert (
        tree.difference({e.path: e for e in (*other.tree.entries, *made.extras)}.values(), read(made.path).entries)
        == ()
    )
    _, manifest, config = described(parts_of(made.path))
    below = described(parts_of(artifact.path))[1]["layers"]
    assert [one["digest"] for one in manifest["layers"][: len(below)]] == [one["digest"] for one in below]
    assert config["config"]["Labels"]["org.opencontainers.image.base.digest"] == digest
    client = docker.from_env()
    with made.path.open("rb") as stream:
        (loaded,) = client.images.load(stream)
    try:
        assert json.loads(run(loaded, "/opt/venvs/shop/bin/shop"))["uid"] == 65532
    finally:
        client.images.remove(str(loaded.id), force=True)
        client.close()


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path[1:]))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(("status", "code"), [(200, 0), (204, 0), (302, 0), (404, 1), (503, 1)])
def test_the_health_check(status: int, code: int) -> None:
    server = HTTPServer(("127.0.0.1", 0), Answers)
    Thread(target=server.serve_forever, daemon=True).start()
    command = ["python3", "-I", "-S", str(share.path("builders", "oci", "health.py"))]
    url = f"http://127.0.0.1:{server.server_port}"
    assert subprocess.run([*command, f"{url}/{status}"], check=False).returncode == code
    server.shutdown()
    server.server_close()
    assert subprocess.run([*command, f"{url}/200"], check=False).returncode == 1


def test_the_configuration_is_part_of_what_is_compared(artifact: Artifact) -> None:
    assert CONFIG_ENTRY in {entry.path for entry in artifact.extras}
