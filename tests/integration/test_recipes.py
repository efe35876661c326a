"""Recipes, rendered by the command and followed as their READMEs say, on real hosts with real releases."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import pytest
import yaml

from buildonce import manifest, recipes
from buildonce import project as projects
from buildonce.recipes.folder import write
from buildonce.recipes.subject import Subject
from tests import pages
from tests.integration import fleet, hosts
from tests.integration.machines import BALANCER, NEWER_PODMAN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.beats import Beats
    from tests.integration.hosts import Host

PYTHON: Final = hosts.Image(name="python-host", packages=("systemd", "systemd-sysv", "dbus", "python3.11"))
# kubectl and compose: neither of them reaches a cluster or makes a container of its own here.
TOOLS: Final = hosts.Image(
    name="recipe-tools",
    packages=("kubernetes-client", "docker-cli", "docker-compose"),
    target="debian-13",
)
ENGINE: Final = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
REGISTRY: Final = '\n[tool.release.publish.team]\ntype = "registry"\nimage = "oci://registry.example.org/team/beat"\n'


@dataclass
class Recipe:
    """A rendered recipe on a host: beside the release that it is for, as its README has it."""

    host: Host
    place: str
    readme: Path

    def lines(self, block: int = 0) -> str:
        """The shell of the README, as written."""
        return [one.text for one in pages.blocks(self.readme) if one.language == "sh"][block]

    def follow(self, block: int = 0, *, code: int = 0, **environment: str) -> str:
        """Run a block of the README; answers what it said."""
        script = f"cd '{self.place}'\n{self.lines(block)}"
        ended = self.host.execute("sh", "-eu", "-c", script, environment=environment)
        assert ended.code == code, ended.output
        return ended.output


def rendered(beats: Beats, folder: Path, host: Host, name: str, version: str, port: int = 8000) -> Recipe:
    """The recipe *name* for *version*, made by the command in somebody's checkout and brought to *host*."""
    built = beats[version]
    site = beats.site(folder / version, REGISTRY if name == "kubernetes" else "")
    settings = site.root / "pyproject.toml"
    settings.write_text(settings.read_text().replace("port = 8000", f"port = {port}"))
    out = folder / f"{name}-{version}" / name
    said = site.release("recipe", name, "--release", str(built.folder), "--out", str(out))
    assert "README.md" in said["files"]
    place = host.put(out, f"/root/{version}")
    if not host.succeeds("test", "-e", f"/root/{version}/{built.folder.name}"):
        host.put(built.folder, f"/root/{version}")
    return Recipe(host, place, out / "README.md")


def as_wheelhouse(recipe: Recipe, release: Path, folder: Path) -> Recipe:
    """The same for a release that has no pex."""
    said = manifest.read((release / manifest.FILE).read_bytes())
    less = replace(said, artifacts=tuple(one for one in said.artifacts if one.kind != "pex"))
    project = projects.read(folder / said.version.pep440 / "beat")
    out = folder / f"wheelhouse-{said.version.pep440}" / "wheelhouse"
    write(recipes.render("systemd", Subject(project=project, manifest=less, folder=release)), out)
    place = recipe.host.put(out, str(Path(recipe.place).parent))
    return Recipe(recipe.host, place, out / "README.md")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with hosts.running(PYTHON.tag(), systemd=True) as running:
        yield running


class TestSystemd:
    def test_installed_replaced_refused_and_brought_back(self, beats: Beats, host: Host, tmp_path: Path) -> None:
        first = rendered(beats, tmp_path, host, "systemd", "1.0.0")
        assert "beat 1.0.0 runs and is well" in first.follow()
        assert host.healthy(version="1.0.0")
        began = host.run("systemctl", "show", "-P", "MainPID", "beat")
        assert "beat 1.0.0 runs already" in first.follow()
        assert host.run("systemctl", "show", "-P", "MainPID", "beat") == began

        second = as_wheelhouse(rendered(beats, tmp_path, host, "systemd", "1.1.0"), beats["1.1.0"].folder, tmp_path)
        other_digest = f"sed -i 's/ [0-9a-f]\\{{64\\}} / {'0' * 64} /' artifacts"
        host.sh(f"cp -r {second.place} /root/1.1.0/spoilt; cd /root/1.1.0/spoilt; {other_digest}")
        said = host.sh("cd /root/1.1.0/spoilt; sh install.sh ../beat-1.1.0 || echo code $?")
        assert "is not the file that was signed: nothing was installed\ncode 4" in said
        assert host.healthy(version="1.0.0")
        second.follow()
        assert host.healthy(version="1.1.0")
        assert host.succeeds("test", "-x", "/opt/beat/current/venv/bin/beat")

        bad = rendered(beats, tmp_path, host, "systemd", "1.2.0")
        said = bad.follow(code=1, TIMEOUT="2")
        assert "503, version 1.2.0" in said
        assert "beat 1.2.0 is not well: 1.1.0 runs again" in said
        assert host.healthy(version="1.1.0")
        failing = rendered(beats, tmp_path, host, "systemd", "1.5.0")
        assert "the migration failed" in failing.follow(code=1)
        assert host.healthy(version="1.1.0")

        assert "beat 1.0.0 runs and is well" in bad.follow(1)
        assert host.healthy(version="1.0.0")
        assert host.sh("cat /var/lib/beat/migrations").split() == ["1.0.0", "1.1.0", "1.2.0"]
        assert host.sh("stat -c '%U %a' /var/lib/beat /etc/beat/env").split() == ["beat", "750", "root", "600"]
        host.run("systemd-analyze", "verify", "--man=no", "beat.service")


@pytest.fixture
def port() -> int:
    """A port of this machine with two free ones behind it: its own network is the host's, for the engine is here."""
    for first in range(21000, 22000, 3):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for number in (first, first + 1, first + 2):
                stack.enter_context(socket.create_server(("127.0.0.1", number)))
            return first
    raise AssertionError


class Users:
    """Ask all the time, over a new connection each, and note what they are told."""

    def __init__(self, url: str) -> None:
        self.url, self.answers, self.failed = url, 0, list[str]()
        self.versions: set[str] = set()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._over.wait(0.02):
            try:
                with urllib.request.urlopen(self.url, timeout=20) as answer:
                    self.versions.add(answer.read().decode().strip())
                self.answers += 1
            except OSError as error:
                self.failed.append(repr(error))


class TestDocker:
    """Real units under systemd, whose engine is the one of this machine."""

    @pytest.fixture
    def host(self) -> Iterator[Host]:
        docker = os.path.realpath(str(shutil.which("docker")))
        shared = {ENGINE: {"bind": ENGINE}, docker: {"bind": "/usr/bin/docker", "mode": "ro"}}
        with hosts.running(BALANCER.tag(), systemd=True, network_mode="host", volumes=shared) as running:
            # The units want the engine's own, which is not on this host.
            running.sh("printf '[Service]\\nExecStart=/bin/sleep infinity\\n' >/etc/systemd/system/docker.service")
            yield running
            running.sh("systemctl stop 'beat@*'; docker volume rm --force beat >/dev/null")

    def test_users_notice_nothing(self, beats: Beats, host: Host, port: int, tmp_path: Path) -> None:
        first = rendered(beats, tmp_path, host, "docker", "1.0.0", port)
        host.sh(f"mkdir -p /etc/beat; echo 'BEAT_PORT=\"{port}\"' >/etc/beat/env; chmod 600 /etc/beat/env")
        host.sh(f"sed 's/bind :/bind 127.0.0.1:/' {first.place}/haproxy.cfg >>/etc/haproxy/haproxy.cfg")
        host.sh("systemctl daemon-reload; systemctl restart haproxy")
        assert "beat 1.0.0 runs as blue" in first.follow()
        with Users(f"http://127.0.0.1:{port}/") as users:
            second = rendered(beats, tmp_path, host, "docker", "1.1.0", port)
            assert "beat 1.1.0 runs as green, blue is stopped" in second.follow()
            assert "beat 1.1.0 runs already, as green" in second.follow()
            bad = rendered(beats, tmp_path, host, "docker", "1.2.0", port)
            assert "503, version 1.2.0" in bad.follow(code=1, TIMEOUT="2")
            assert "beat 1.0.0 runs as blue, green is stopped" in second.follow(1)
        print(f"{users.answers} requests, {len(users.failed)} failed")
        assert users.failed == []
        assert users.versions == {"1.0.0", "1.1.0"}
        assert users.answers > 100
        assert host.sh("docker ps --filter name=^beat- --format '{{.Names}}'").split() == ["beat-blue"]
        facts = json.loads(host.sh("docker inspect beat-blue"))[0]
        assert (facts["HostConfig"]["ReadonlyRootfs"], facts["HostConfig"]["CapDrop"]) == (True, ["ALL"])
        assert f"BEAT_PORT={port}" in facts["Config"]["Env"]
        assert "BEAT" not in host.sh("cat /proc/$(systemctl show -P MainPID beat@blue)/cmdline")
        enabled = host.run("systemctl", "is-enabled", "beat@blue", "beat@green", check=False).split()
        assert enabled == ["enabled", "disabled"]


class TestQuadlet:
    """Under the podman of Debian 13, whose generator makes the units."""

    def test_it_runs_is_replaced_and_brought_back(self, beats: Beats, tmp_path: Path) -> None:
        with fleet.running(0, balancer=False, engines={"e1": NEWER_PODMAN}) as made:
            host = made.nodes["e1"]
            first = rendered(beats, tmp_path, host, "quadlet", "1.0.0")
            first.follow()
            self.well(host, "1.0.0")
            units = (f"/run/systemd/generator/beat{one}.service" for one in ("", "-migrate", "-volume"))
            host.run("systemd-analyze", "verify", "--man=no", *units)
            facts = json.loads(host.sh("podman inspect beat 2>/dev/null"))[0]
            limits = facts["HostConfig"]
            assert (limits["ReadonlyRootfs"], limits["PidsLimit"], limits["SecurityOpt"]) == (
                True,
                512,
                ["no-new-privileges"],
            )
            assert facts["EffectiveCaps"] is None  # podman's word for no capability at all
            assert "--pull never" in " ".join(facts["Config"]["CreateCommand"]).replace("=", " ")

            rendered(beats, tmp_path, host, "quadlet", "1.1.0").follow()
            self.well(host, "1.1.0")
            made.power_cut("e1")
            self.well(host, "1.1.0")
            bad = rendered(beats, tmp_path, host, "quadlet", "1.5.0")
            assert "beat.service failed" in bad.follow(code=1), "the migration fails"
            first.follow()
            self.well(host, "1.0.0")
            assert host.sh("cat /var/lib/containers/storage/volumes/beat/_data/migrations").split() == [
                *("1.0.0", "1.1.0", "1.1.0", "1.0.0"),
            ]

    def well(self, host: Host, version: str) -> None:
        """It answers, and podman's own look at it says so."""
        hosts.until(lambda: host.healthy(version=version), told=lambda: host.run("journalctl", "-u", "beat"))
        assert host.succeeds("podman", "healthcheck", "run", "beat")


@pytest.fixture(scope="module")
def tools() -> Iterator[Host]:
    shared = {ENGINE: {"bind": ENGINE}}
    with hosts.running(TOOLS.tag(), target="debian-13", command=hosts.IDLE, volumes=shared) as running:
        yield running


class TestTools:
    """What reads the other recipes, in the versions of Debian 13."""

    def test_kubectl_puts_it_together(self, beats: Beats, tools: Host, tmp_path: Path) -> None:
        recipe = rendered(beats, tmp_path, tools, "kubernetes", "1.0.0")
        for environment, replicas in (("staging", 1), ("production", 3)):
            text = tools.run("kubectl", "kustomize", f"{recipe.place}/overlays/{environment}")
            found = {one["kind"]: one for one in yaml.safe_load_all(text)}
            assert {one.get("metadata", {}).get("namespace") for one in found.values()} == {None, f"beat-{environment}"}
            pod = found["Deployment"]["spec"]["template"]["spec"]
            assert found["Deployment"]["spec"]["replicas"] == replicas
            assert re.fullmatch(r"registry\.example\.org/team/beat@sha256:[0-9a-f]{64}", pod["containers"][0]["image"])
            settings = pod["containers"][0]["envFrom"][0]["configMapRef"]["name"]
            assert settings == found["ConfigMap"]["metadata"]["name"] != "beat-env"
            assert pod["containers"][0]["image"] == found["Job"]["spec"]["template"]["spec"]["containers"][0]["image"]

    def test_compose_runs_it(self, beats: Beats, tools: Host, port: int, tmp_path: Path) -> None:
        recipe = rendered(beats, tmp_path, tools, "compose", "1.0.0", port)
        tools.sh(f"cd {recipe.place}; echo BEAT_PORT={port} >>env")
        try:
            assert "healthy" in recipe.follow()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=20) as answer:
                assert json.load(answer)["version"] == "1.0.0"
        finally:
            tools.sh(f"cd {recipe.place}; docker compose down --volumes")


ENVIRONMENT: Final = """
[tool.release.environments.staging]
inventory = "hosts.ini"
format = "pex"
"""


class TestAnsible:
    """What the playbooks do on hosts: tests/integration/test_deploy.py. Here: that the rendered folder is whole."""

    def test_it_is_all_that_ansible_needs(self, beats: Beats, tmp_path: Path) -> None:
        site = beats.site(tmp_path / "site", ENVIRONMENT, "1.0.0")
        (site.root / "hosts.ini").write_text("[app]\nlocalhost ansible_connection=local\n")
        out = tmp_path / "out"
        said = site.release("recipe", "ansible", "--out", str(out))
        assert {"release/host.pyz", "release/plan.json", "release/keys.gpg", "release/parcel.tar"} < set(said["files"])
        assert json.loads((out / "release/plan.json").read_text())["version"] == "1.0.0"
        (line,) = re.findall(r"`(ansible-playbook [^`]*status\.yml)`", (out / "README.md").read_text())
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        words = line.replace("HOSTS", str(site.root / "hosts.ini"))
        done = subprocess.run(
            ["sh", "-c", words], cwd=out, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert site.run("recipe", "ansible", "--out", str(out)).returncode == 0

        with (site.root / "pyproject.toml").open("a") as settings:
            settings.write(ENVIRONMENT.replace("staging", "production"))
        refused = site.run("recipe", "ansible", "--out", str(out))
        assert (refused.returncode, "--environment staging" in refused.stderr) == (3, True)
