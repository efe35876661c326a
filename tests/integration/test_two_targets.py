"""One release for Debian 12 and 13: what is made for 13 is installed and runs there, offline, and nothing clashes."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buildonce import target as targets
from buildonce.system import files
from tests.integration import carried, hosts, images, test_offline_deb, test_offline_pex, test_offline_wheelhouse
from tests.integration.conftest import QUIET, Built, example, with_python
from tests.integration.test_offline_wheelhouse import HOUSE
from tests.oci.image_stage import download

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import Example
    from tests.integration.hosts import Host

OLD, NEW = "debian-12", "debian-13"
BOTH = f"\n[tool.release.targets.{OLD}]\n[tool.release.targets.{NEW}]\n"
INDEX = "/srv/simple"
LINTIAN = hosts.Image(name="lintian", packages=("lintian",), target=NEW)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Example:
    return example("orders", tmp_path_factory.mktemp("both"), more=BOTH, XDG_CONFIG_HOME=str(home))


@pytest.fixture(scope="module")
def both(project: Example) -> Built:
    data = project.release("build")
    return Built(Path(data["dir"]), data)


@pytest.fixture(scope="module")
def debian(project: Example, both: Built, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each target an apt repository in a folder, with what the application needs of that Debian."""
    folder, locked = tmp_path_factory.mktemp("carried"), project.root / "debs.lock.toml"
    return {
        target: carried.index(folder / target, carried.needed(both.file("deb", target), locked, target))
        for target in (OLD, NEW)
    }


@pytest.fixture(scope="module")
def python_host(debian: dict[str, Path]) -> Iterator[Host]:
    with with_python(debian[NEW], NEW) as host:
        yield host


def test_wheel_and_sdist_are_made_once_and_the_rest_for_each(project: Example, both: Built) -> None:
    made = sorted((row["format"], row["target"] or "") for row in both.data["artifacts"])
    each = [(kind, target) for kind in ("deb", "oci", "pex", "wheelhouse") for target in (OLD, NEW)]
    assert made == sorted([("sdist", ""), ("wheel", ""), *each])
    assert not project.run("verify", str(both.folder)).returncode


def test_the_deb_under_systemd(debian: dict[str, Path], both: Built, tmp_path: Path) -> None:
    with hosts.running(hosts.HOSTS[NEW].tag(), systemd=True, target=NEW) as host:
        carried.accept(host, debian[NEW])
        carried.accept(host, carried.index(tmp_path / "orders", [both.file("deb", NEW)]))
        host.run("apt-get", "install", "-qq", "orders", environment=QUIET)
        test_offline_deb.serves(host, both)
        files_of = host.run("dpkg", "-L", "orders").splitlines()
        assert "/usr/lib/systemd/system/orders.service" in files_of
        host.run("apt-get", "purge", "-qq", "--autoremove", "orders", environment=QUIET)
        assert host.run("sh", "-c", "ls -d /opt/venvs /etc/orders /var/lib/orders", check=False).count("No such") == 3


def test_its_lintian_finds_nothing(both: Built) -> None:
    with hosts.running(LINTIAN.tag(), target=NEW, command=hosts.IDLE, init=True) as host:
        deb = host.put(both.file("deb", NEW), "/srv")
        assert host.run("lintian", "--no-cfg", "--allow-root", "--fail-on=error,warning", deb, check=False) == ""


def test_the_wheelhouse(python_host: Host, both: Built) -> None:
    unpack(python_host, both.file("wheelhouse", NEW), HOUSE)
    test_offline_wheelhouse.lays_the_tree(python_host, both, both.tree_of(NEW))


def test_the_pex(python_host: Host, both: Built) -> None:
    pex = python_host.put(both.file("pex", NEW), "/srv/pex")
    assert python_host.run(pex, "--version").strip() == both.version
    test_offline_pex.serves(python_host, pex, both)


def test_the_image(both: Built) -> None:
    with images.loaded(both, NEW) as image, images.strictly(image, target=NEW) as host:
        hosts.until(lambda: host.healthy(version=both.version, status="ok"), told=host.told)
        assert host.run("python", "--version").strip() == f"Python {targets.load(NEW).python}"


def test_what_is_made_for_the_other_target_is_refused_with_the_reason(python_host: Host, both: Built) -> None:
    unpack(python_host, both.file("wheelhouse", OLD), "/srv/other")
    said = python_host.run("sh", "/srv/other/install.sh", "/srv/never", check=False)
    assert "python3.11" in said
    assert not python_host.succeeds("test", "-e", "/srv/never")
    deb = python_host.put(both.file("deb", OLD), "/srv/other")
    said = python_host.run("apt-get", "install", "-qq", deb, environment=QUIET, check=False)
    assert re.search(r"Depends:? python3\.11", said)
    assert not python_host.succeeds("dpkg", "-s", "orders")


def unpack(host: Host, wheelhouse: Path, into: str) -> None:
    packed = host.put(wheelhouse, "/srv")
    host.sh(f"mkdir {into}; tar -xf '{packed}' -C {into}; rm '{packed}'")


@pytest.fixture(scope="module")
def wheels(both: Built, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """The wheels of each target's wheelhouse."""
    found = {}
    for target in (OLD, NEW):
        folder = tmp_path_factory.mktemp("wheels") / target
        with tarfile.open(both.file("wheelhouse", target)) as archive:
            archive.extractall(folder, filter="data")
        found[target] = sorted(folder.glob("wheels/*.whl"))
    return found


def test_a_name_that_two_wheelhouses_share_is_one_file(wheels: dict[str, list[Path]]) -> None:
    digests: dict[str, set[str]] = {}
    for wheel in (*wheels[OLD], *wheels[NEW]):
        digests.setdefault(wheel.name, set()).add(files.sha256_file(wheel))
    assert {name for name, found in digests.items() if len(found) > 1} == set()
    compiled = {target: compiled_of(wheels, target).name for target in (OLD, NEW)}
    version = compiled[OLD].split("-")[1]
    assert compiled == {
        OLD: f"psycopg2-{version}-1deb12-cp311-cp311-linux_x86_64.whl",
        NEW: f"psycopg2-{version}-1deb13-cp313-cp313-linux_x86_64.whl",
    }


def compiled_of(wheels: dict[str, list[Path]], target: str) -> Path:
    (found,) = (wheel for wheel in wheels[target] if wheel.name.startswith("psycopg2-"))
    return found


@pytest.mark.parametrize("target", [OLD, NEW])
def test_from_one_index_pip_takes_the_one_of_its_interpreter(
    target: str, debian: dict[str, Path], wheels: dict[str, list[Path]], tmp_path: Path
) -> None:
    page = tmp_path / "index.html"
    both_wheels = [compiled_of(wheels, one) for one in (OLD, NEW)]
    page.write_text("".join(f'<a href="{w.name}#sha256={files.sha256_file(w)}">{w.name}</a>\n' for w in both_wheels))
    (pip,) = download("pip==26.3")
    with with_python(debian[target], target) as host:
        for path in (page, *both_wheels):
            host.put(path, f"{INDEX}/psycopg2")
        program = f"{host.python} {host.put(pip, '/srv/tools')}/pip install --no-cache-dir --no-deps --target"
        host.sh(f"{program} /srv/by-index --index-url file://{INDEX} psycopg2")
        host.sh(f"{program} /srv/by-folder --no-index --find-links {INDEX}/psycopg2 psycopg2")
        for place in ("/srv/by-index", "/srv/by-folder"):
            assert tag(host, place) == str(compiled_of(wheels, target).stem.split("-", 3)[3])


def tag(host: Host, place: str) -> str:
    """The tag of the wheel that psycopg2 in *place*, which has to be importable, was installed from."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import psycopg2, importlib.metadata as m; "
        "print(m.distribution('psycopg2').read_text('WHEEL').rpartition('Tag: ')[2])"
    )
    return host.run(host.python, "-I", "-c", code, place).strip()
