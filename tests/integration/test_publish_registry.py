"""The image of a real release in a real registry: what is sent, who can verify it, that it runs; and every fault."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from buildonce.signing import keys
from tests import faults, pages, registries
from tests.integration import tools
from tests.integration.conftest import release as command
from tests.pages import ROOT
from tests.publishers import small_images
from tests.publishers.shelves import Shelf, means
from tests.small_release import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buildonce.signing import Key
    from tests.conftest import Told
    from tests.faults import Proxy
    from tests.integration.conftest import Built, Example
    from tests.registries import Running

MANUAL = ROOT / "docs/reference/publishers/registry.md"
# Heading → which cosign its commands mean.
SECTIONS = {"With cosign 3": "sid", "With cosign 2": "trixie"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with registries.running(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="module")
def proxy(server: Running) -> Iterator[Proxy]:
    with faults.proxy(f"http://{server.host}") as found:
        yield found


# The server is down from a request on, at each of them in turn. The others take turns: each request has one of them.
FAULTS: tuple[tuple[faults.Kind, int | None, int, int], ...] = (
    ("unheard", None, 1, 1),
    ("status", None, 1, 6),
    ("unheard", 1, 2, 6),
    ("half", 1, 3, 6),
    ("unanswered", 1, 4, 6),
    ("status", 1, 5, 6),
    ("truncated", 1, 6, 6),
)


@pytest.mark.timeout(1800)  # two hundred publications
@pytest.mark.parametrize(("kind", "times", "begin", "every"), FAULTS)
def test_a_fault_at_every_request(
    server: Running,
    proxy: Proxy,
    key: Key,
    tmp_path: Path,
    kind: faults.Kind,
    times: int | None,
    begin: int,
    every: int,
    told: Told,
) -> None:
    """The connection is cut before, in the middle of and after requests, or the server fails."""
    machine = means(tmp_path, key)
    name = f"faults/{kind}-{times or 'all'}"
    shelf = Shelf(host=proxy.host, direct=server.host, name=name, means=machine)
    release = small_images.release(tmp_path / "release", key)
    tried = shelf.survives(release, proxy, kind, times=times, first=begin, every=every)
    machine.system.net.close()
    told(f"registry: {kind}, {'once' if times else 'from a request on'}", tried)


class Sent(NamedTuple):
    """Two releases in a registry."""

    proxy: Proxy
    went: list[dict[str, int]]  # what went over the line for each: bytes by path
    builds: list[Built]
    use: list[str]  # the lines that pull them


@pytest.fixture(scope="module")
def published(orders: Example, first: Built, second: Built, proxy: Proxy) -> Sent:
    """Two releases, of commits one line apart, by the command."""
    settings = orders.root / "pyproject.toml"
    before = settings.read_text()
    table = f'\n[tool.release.publish.staging]\ntype = "registry"\nimage = "oci://{proxy.host}/team/orders"\n'
    settings.write_text(before + table)
    went, use = [], []
    try:
        for built in (first, second):
            proxy.reset()
            done = orders.release("publish", str(built.folder), "--to", "staging")
            assert all(one["sent"] for one in done["destinations"])
            use += done["destinations"][0]["use"]
            went.append({one.path: one.received for one in proxy.exchanges if one.received})
    finally:
        settings.write_text(before)
    return Sent(proxy, went, [first, second], use)


def _manifest(proxy: Proxy, built: Built) -> tuple[str, dict[str, object]]:
    """The digest and the manifest behind the tag of *built*, as anybody gets them."""
    tag = built.version.replace("+", "_")
    url = f"http://{proxy.host}/v2/team/orders/manifests/{tag}"
    accept = "Accept: application/vnd.oci.image.manifest.v1+json"
    said = subprocess.run(["curl", "-fsSi", "-H", accept, url], capture_output=True, text=True, check=True).stdout
    head, _, body = said.replace("\r\n", "\n").partition("\n\n")
    (digest,) = re.findall(r"(?i)^docker-content-digest: (\S+)$", head, re.MULTILINE)
    return digest, json.loads(body)


def test_a_one_line_change_sends_its_layer_alone(published: Sent, told: Told) -> None:
    """Layer, configuration and manifest of the application; and what is signed, which is about a new digest."""
    proxy, (_, went), builds = published.proxy, published.went, published.builds
    (_, before), (_, after) = (_manifest(proxy, built) for built in builds)
    known = {row["digest"] for row in before["layers"]}  # type: ignore[attr-defined]
    (layer,) = [row for row in after["layers"] if row["digest"] not in known]  # type: ignore[attr-defined]
    blobs = {re.findall(r"digest=sha256%3A(\w+)", path)[0]: size for path, size in went.items() if "digest=" in path}
    image = {layer["digest"].removeprefix("sha256:"): layer["size"]}
    config = after["config"]
    image[config["digest"].removeprefix("sha256:")] = config["size"]  # type: ignore[index]
    assert {digest: blobs[digest] for digest in image} == image
    signed = sum(size for digest, size in blobs.items() if digest not in image)
    manifests = sum(size for path, size in went.items() if "/manifests/" in path)
    total = sum(row["size"] for row in after["layers"])  # type: ignore[attr-defined]
    told(
        f"a one-line change: {layer['size']} bytes of layer, {config['size']} of configuration, "  # type: ignore[index]
        f"{manifests} of manifests, {signed} of signatures, SBOM and provenance; the image has {total}",
        0,
    )
    assert sum(image.values()) < total / 100


def test_docker_pulls_it_by_digest_and_runs_it(
    published: Sent,
) -> None:
    """By the line that the command told."""
    proxy, built = published.proxy, published.builds[0]
    digest, manifest = _manifest(proxy, built)
    name = f"{proxy.host}/team/orders@{digest}"
    try:
        subprocess.run(shlex.split(published.use[0], comments=True), check=True, capture_output=True)
        asked = ["docker", "image", "inspect", "--format", "{{.Id}}", name]
        assert (
            subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
            == (
                manifest["config"]["digest"]  # type: ignore[index]
            )
        )
        run = ["docker", "run", "--rm", "--network=none", "--read-only", name, "--version"]
        said = subprocess.run(run, check=False, capture_output=True, text=True)
        assert built.version in said.stdout + said.stderr
    finally:
        subprocess.run(["docker", "image", "rm", "--force", name], check=False, capture_output=True)


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """$HOME/trust of the manual, with the key and one that signed nothing."""
    home = tmp_path_factory.mktemp("home")
    keys.new(home / "trust" / "other", None)
    return home


@pytest.fixture(scope="module")
def signer(trust: Path) -> Key:
    return keys.new(trust / "trust" / "team", None)


@pytest.fixture(scope="module")
def shelf(server: Running, signer: Key, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """Images of two architectures and their index, published."""
    folder = tmp_path_factory.mktemp("shelf")
    machine = means(folder, signer)
    made = Shelf(host=server.host, direct=server.host, name="team/signed", means=machine)
    made.publish(small_images.release(folder, signer, several=True))
    yield made
    machine.system.net.close()


def follow(section: str, image: str, trust: Path, name: str = "team") -> subprocess.CompletedProcess[str]:
    """Run the commands below the heading *section*, behind a proxy that is not there."""
    (script,) = ["".join(b.text for b in pages.blocks(MANUAL) if b.heading == section and b.language == "console")]
    lines = [line.removeprefix("$ ") for line in script.splitlines()]
    # The commands speak of a registry with TLS; this one has none.
    text = "\n".join(lines).replace("--key", "--allow-insecure-registry --key")
    return subprocess.run(
        ["sh", "-euc", text],
        env={
            "PATH": f"{tools.cosign(SECTIONS[section]).parent}:{os.environ['PATH']}",
            "HOME": str(trust),
            "KEYS": str(trust / "trust"),
            "NAME": name,
            "IMAGE": image,
            "https_proxy": "http://127.0.0.1:9",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("tag", [VERSION.oci, f"{VERSION.oci}-linux-amd64", f"{VERSION.oci}-linux-arm64"])
def test_cosign_accepts_it(section: str, tag: str, shelf: Shelf, trust: Path) -> None:
    digest, _ = shelf.document(tag)
    for reference in (f":{tag}", f"@sha256:{digest}"):
        done = follow(section, f"{shelf.host}/{shelf.name}{reference}", trust)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("section", SECTIONS)
def test_cosign_refuses_another_key(section: str, shelf: Shelf, trust: Path) -> None:
    assert follow(section, f"{shelf.host}/{shelf.name}:{VERSION.oci}", trust, name="other").returncode != 0


@pytest.mark.parametrize("section", SECTIONS)
def test_cosign_refuses_an_image_that_nobody_signed(
    section: str, shelf: Shelf, trust: Path, signer: Key, tmp_path: Path
) -> None:
    """The signature of another image does not pass for it."""
    other = small_images.release(tmp_path, signer, application=b"another")
    from buildonce.publishers import images

    unsigned = Shelf(host=shelf.host, direct=shelf.direct, name="team/unsigned", means=shelf.means)
    publisher = unsigned.publisher()
    for parcel in publisher.prepare(other):
        publisher.send(parcel, other, lambda _: None)
    document = images.of(other).documents[0]
    unsigned.registry.push_manifest(document.data, "v1", media_type=document.media_type)
    assert follow(section, f"{unsigned.host}/{unsigned.name}:v1", trust).returncode != 0


def test_ctrl_c_ends_it_and_nothing_is_seen(orders: Example, first: Built, server: Running, proxy: Proxy) -> None:
    """In the middle of the uploads; the same line again completes it."""
    settings = orders.root / "pyproject.toml"
    before = settings.read_text()
    table = f'\n[tool.release.publish.staging]\ntype = "registry"\nimage = "oci://{proxy.host}/team/interrupted"\n'
    argv = [sys.executable, "-m", "buildonce", "publish", str(first.folder), "--to", "staging"]
    environment = {**os.environ, **orders.environment}
    try:
        settings.write_text(before + table)
        proxy.reset(faults.Fault(kind="slow", seconds=0.3))
        running = subprocess.Popen(argv, cwd=orders.root, env=environment, stderr=subprocess.PIPE, text=True)
        while not any(one.startswith("PUT") for one in proxy.requests):
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
        assert running.returncode == 130, said
        listed = ["curl", "-s", f"http://{server.host}/v2/team/interrupted/tags/list"]
        assert "linux-amd64" not in subprocess.run(listed, capture_output=True, text=True, check=True).stdout
        proxy.reset()
        again = orders.run(*argv[3:])
        assert again.returncode == 0, again.stderr
        assert "linux-amd64" in subprocess.run(listed, capture_output=True, text=True, check=True).stdout
    finally:
        proxy.reset()
        settings.write_text(before)


def test_a_wrong_password_by_the_command(orders: Example, first: Built, tmp_path: Path) -> None:
    """The command says what is wrong, where, and the next step; and nothing of what was in the file."""
    with registries.running(tmp_path / "shut", basic=True) as server:
        settings = orders.root / "pyproject.toml"
        before = settings.read_text()
        table = f'\n[tool.release.publish.staging]\ntype = "registry"\nimage = "oci://{server.host}/team/orders"\n'
        registries.log_in(tmp_path, server.host, password="wrong horse")
        try:
            settings.write_text(before + table)
            done = command(
                "publish",
                str(first.folder),
                "--to",
                "staging",
                "-vv",
                cwd=orders.root,
                **{**orders.environment, "DOCKER_CONFIG": str(tmp_path / ".docker")},
            )
        finally:
            settings.write_text(before)
    assert done.returncode == 1
    assert f"docker login {server.host}" in done.stderr
    assert "wrong horse" not in done.stdout + done.stderr
