"""The bundle of a release, carried to hosts without network: verified with Debian's own tools, then installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
import uv

from tests.integration import carried, hosts
from tests.integration.conftest import release
from tests.integration.test_offline_deb import serves

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Built, Example
    from tests.integration.hosts import Host

TRUST = "/etc/trust"


@pytest.fixture(scope="module")
def bundle(orders: Example, first: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, as it lies on a stick."""
    out = tmp_path_factory.mktemp("stick") / "orders.tar"
    said = orders.release("bundle", str(first.folder), "--out", str(out))
    assert (said["name"], said["version"], said["bundle"]) == ("orders", first.version, str(out))
    assert said["size"] == out.stat().st_size
    return out


@pytest.fixture(scope="module")
def keyring(public_key: Path) -> Path:
    return public_key.with_suffix(".gpg")


@pytest.fixture
def unpacked(bundle: Path, tmp_path: Path) -> Path:
    with tarfile.open(bundle) as archive:
        archive.extractall(tmp_path, filter="data")
    return next(path for path in tmp_path.iterdir() if path.name.startswith("orders-"))


@pytest.fixture(scope="module")
def host(bundle: Path, keyring: Path) -> Iterator[Host]:
    """A host under systemd that has the bundle and the signer's key, and no packages of Debian from anywhere."""
    with hosts.running(hosts.HOST.tag(), systemd=True) as host:
        bring(host, bundle, keyring)
        assert host.sh("apt-get indextargets") == ""
        yield host


def bring(host: Host, bundle: Path, keyring: Path) -> None:
    assert host.too_much() == ""
    host.put(bundle, "/media/a stick")
    host.put(keyring, TRUST)
    host.sh(f"cd '/media/a stick'; tar -xf {bundle.name}; mv orders-* orders")


def install(host: Host, keyring: Path, *arguments: str, check: bool = True) -> str:
    command = ("sh", "/media/a stick/orders/install.sh", "--key", f"{TRUST}/{keyring.name}", *arguments)
    return host.run(*command, check=check)


def test_its_bytes_follow_from_the_release(orders: Example, first: Built, bundle: Path, tmp_path: Path) -> None:
    again = orders.release("bundle", str(first.folder), "--out", str(tmp_path / "again.tar"), TZ="Asia/Tokyo")
    assert (tmp_path / "again.tar").read_bytes() == bundle.read_bytes()
    assert again["files"] > 20


def test_the_readme_verifies_it_by_hand(host: Host, keyring: Path) -> None:
    readme = host.run("cat", "/media/a stick/orders/README.txt")
    lines = [line.strip() for line in readme.splitlines() if "sha256sum --check" in line]
    assert [line.split()[0] for line in lines] == ["gpgv", "sqv", "openssl"]
    host.sh(f"cd '/media/a stick/orders'; {lines[0].replace('/path/to/NAME.gpg', f'{TRUST}/{keyring.name}')}")


def test_the_deb(host: Host, keyring: Path, first: Built) -> None:
    """With the interpreter and libraries that the host has not; and nothing is left in its apt."""
    before = host.sh("find /etc/apt /var/lib/apt/lists /tmp -type f")
    assert not host.succeeds("dpkg", "-s", "libpq5")
    install(host, keyring, "deb")
    serves(host, first)
    assert host.sh("dpkg --audit") == ""
    assert host.sh("find /etc/apt /var/lib/apt/lists /tmp -type f") == before


def test_without_os_packages_they_come_from_where_the_host_has_them(
    orders: Example, first: Built, keyring: Path, os_packages: Path, tmp_path: Path
) -> None:
    out = tmp_path / "small.tar"
    orders.release("bundle", str(first.folder), "--no-os-packages", "--out", str(out))
    with hosts.running(hosts.HOST.tag(), command=hosts.IDLE, init=True) as host:
        bring(host, out, keyring)
        assert "python3.11 but it is not installable" in install(host, keyring, "os", check=False)
        carried.accept(host, os_packages)
        install(host, keyring, "os")
        install(host, keyring, "pex", "/srv/bin/orders.pex")
        assert host.run("/srv/bin/orders.pex", "--version").strip() == first.version


def test_the_os_packages_are_those_of_its_own_lock(orders: Example, first: Built, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(orders.root, other, ignore=shutil.ignore_patterns("dist", ".git"))
    with (other / "pylock.toml").open("a") as lock:
        lock.write("# another one\n")
    argv = ("bundle", str(first.folder), "--out", str(tmp_path / "b.tar"))
    done = release(*argv, cwd=other, **orders.environment)
    assert (done.returncode, (tmp_path / "b.tar").exists()) == (3, False)
    assert "is not the one that orders" in done.stderr


def test_the_wheelhouse_and_the_pex(host: Host, keyring: Path, first: Built) -> None:
    install(host, keyring, "wheelhouse", "/srv/orders")
    assert host.run("/srv/orders/bin/orders", "--version").strip() == first.version
    install(host, keyring, "pex", "/srv/bin/orders.pex")
    assert host.run("/srv/bin/orders.pex", "--version", environment={"PEX_ROOT": "/tmp/pex"}).strip() == first.version


def test_its_index_serves_installers(unpacked: Path, first: Built, tmp_path: Path) -> None:
    index = (unpacked / "simple").as_uri()
    subprocess.run(
        [
            *(uv.find_uv_bin(), "pip", "install", "--no-config", "--no-cache", "--python", sys.executable),
            *("--index-url", index, "--target", str(tmp_path / "site"), f"orders=={first.version}"),
        ],
        env={"PATH": os.environ["PATH"]},
        check=True,
    )
    assert len(list((tmp_path / "site").glob("*.dist-info"))) > 10


def test_after_one_flipped_byte_nothing_is_installed(host: Host, keyring: Path) -> None:
    host.sh("cp -r '/media/a stick/orders' /media/worse")
    host.sh("cd /media/worse/release; printf '\\377' | dd of=$(ls *.deb) bs=1 seek=4000 conv=notrunc status=none")
    host.sh("apt-get -qq purge orders")
    said = host.run("sh", "/media/worse/install.sh", "--key", f"{TRUST}/{keyring.name}", "deb", check=False)
    assert "nothing was installed" in said
    assert not host.succeeds("dpkg", "-s", "orders")


def test_the_image(unpacked: Path, keyring: Path) -> None:
    with hosts.engine() as client:
        before = {image.id for image in client.images.list()}
        done = run(unpacked, "--key", str(keyring), "image")
        assert done.returncode == 0, done.stderr
        new: list[Any] = [image for image in client.images.list() if image.id not in before]
        for image in new:
            client.images.remove(image.id, force=True)
    assert "Loaded image" in done.stdout


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(folder / "install.sh"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")


def test_a_byte_of_any_file(unpacked: Path, keyring: Path) -> None:
    """Each file in turn, the signature too, but for most wheels and OS packages, which are many: all are refused."""
    assert run(unpacked, "--key", str(keyring)).returncode == 0
    wheels, packages = sorted((unpacked / "wheels").iterdir()), sorted((unpacked / "os/pool").rglob("*.deb"))
    left_out = {*wheels[3:], *packages[3:], unpacked / "BUNDLE.sig", unpacked / "install.sh"}
    tried = [path for path in sorted(unpacked.rglob("*")) if path.is_file() and path not in left_out]
    for path in tried:
        with flipped(path):
            assert run(unpacked, "--key", str(keyring)).returncode == 4, path
    assert len(tried) > 20
    assert run(unpacked, "--key", str(keyring)).returncode == 0


def test_openssl_does_as_well(unpacked: Path, keyring: Path) -> None:
    key = str(keyring.with_suffix(".pub"))
    assert run(unpacked, "--key", key).returncode == 0
    for name in ("BUNDLE", "BUNDLE.sig", "README.txt"):
        with flipped(unpacked / name):
            assert run(unpacked, "--key", key).returncode == 4, name


@contextlib.contextmanager
def flipped(path: Path) -> Iterator[None]:
    """One bit in the middle of *path* is another one."""
    before = path.read_bytes()
    at = len(before) // 2
    path.write_bytes(before[:at] + bytes([before[at] ^ 1]) + before[at + 1 :])
    try:
        yield
    finally:
        path.write_bytes(before)


def test_what_was_added_or_is_missing(unpacked: Path, keyring: Path) -> None:
    (unpacked / "release/more.deb").write_bytes(b"")
    assert run(unpacked, "--key", str(keyring), "deb").returncode == 4
    (unpacked / "release/more.deb").unlink()
    (unpacked / "release/more.deb").symlink_to("/etc/passwd")
    assert run(unpacked, "--key", str(keyring), "deb").returncode == 4
    (unpacked / "release/more.deb").unlink()
    (unpacked / "release/release.json").unlink()
    assert run(unpacked, "--key", str(keyring), "deb").returncode == 4


def test_bad_input(unpacked: Path, keyring: Path, tmp_path: Path) -> None:
    nobodys = tmp_path / "none.gpg"
    nobodys.write_bytes(b"")
    asked = {
        (): (2, "name the signer's public key with --key"),
        ("--key", "/nowhere.gpg"): (2, "cannot be read"),
        ("--key", "/etc/passwd"): (2, "neither NAME.gpg nor NAME.pub"),
        ("--key", str(nobodys)): (4, "is not signed with this key"),
        ("--key", str(keyring), "rpm"): (2, "usage: sh install.sh"),
        ("--key", str(keyring), "pex"): (2, "usage: sh install.sh"),
        ("--key", str(keyring), "pex", "/nowhere/x", "debian-99"): (1, "debian-99.pex"),
    }
    for arguments, (code, message) in asked.items():
        ended = run(unpacked, *arguments)
        assert (ended.returncode, message in ended.stderr) == (code, True), ended.stderr


def test_only_a_signed_release_is_bundled(orders: Example, first: Built, tmp_path: Path) -> None:
    spoiled = tmp_path / first.folder.name
    shutil.copytree(first.folder, spoiled)
    (spoiled / "SHA256SUMS.sig").write_bytes(b"x")
    done = orders.run("bundle", str(spoiled), "--out", str(tmp_path / "b.tar"))
    assert done.returncode == 4
    assert not (tmp_path / "b.tar").exists()
