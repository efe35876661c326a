"""What every kind of vault has to do: give back what it was given, say what it has not, and never half a file."""

from __future__ import annotations

import contextlib
import errno
import http.server
import os
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from buildonce import fetch
from buildonce.errors import ConfigurationError, ReleaseError
from buildonce.model import Digest
from buildonce.system import files
from buildonce.system.console import SilentProgress
from buildonce.system.net import Net
from buildonce.vault import bundle, lock_digest, open_vault, read_listing, writable
from tests import ports, registries
from tests.vault.making import LOCK, TEXTS, Amounts, contents, wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from buildonce.model import RemoteFile
    from buildonce.protocols import Vault
    from buildonce.system.store import Store
    from tests.registries import Running

WHEEL, DEB = "a-1-py3-none-any.whl", "b+c_1~2_all.deb"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with registries.running(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
def net() -> Iterator[Net]:
    made = Net(patience=2, pause=0.01, timeout=10)
    yield made
    made.close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Silent."""


@contextlib.contextmanager
def web(folder: Path) -> Iterator[str]:
    """A plain web server, as anybody has."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


Place = tuple[str, "Callable[[str], Path]"]  # what a user writes, and where the bytes of a sha256 are


@pytest.fixture(params=["folder", "bundle", "web", "registry"])
def filled(
    request: pytest.FixtureRequest, tmp_path: Path, net: Net, registry: Running
) -> Iterator[tuple[Vault, Callable[[str, bytes], None]]]:
    """A vault of every kind with the inputs in it, and how to spoil one of its files."""
    found = contents(tmp_path / "inputs")
    folder = tmp_path / "vault"
    folder.mkdir()

    def spoil(name: str, data: bytes) -> None:
        sha256 = files.sha256_bytes(TEXTS[name])
        if request.param == "bundle":
            tar = tmp_path / "inputs.tar"
            tar.write_bytes(tar.read_bytes().replace(TEXTS[name], data))
        elif request.param == "registry":
            registry.blob(sha256).write_bytes(data)
        else:
            (folder / "files" / sha256[:2] / sha256 / name).write_bytes(data)

    with contextlib.ExitStack() as stack:
        match request.param:
            case "bundle":
                place = str(tmp_path / "inputs.tar")
                bundle.write(tmp_path / "inputs.tar", found, SilentProgress())
            case "registry":
                place = registry.repository(f"team/{tmp_path.name.replace('_', '-').lower()}")
            case "web":
                place = stack.enter_context(web(folder)) + "/"
            case _:
                place = str(folder)
        vault = open_vault(place, net, root=tmp_path, where="test")
        behind = open_vault(str(folder), net, root=tmp_path, where="")
        for keeper in writable([behind if request.param == "web" else vault]):
            keeper.keep(found, SilentProgress(), thorough=False)
        yield vault, spoil
        for path in registry.blobs:  # the next vault begins with an empty registry
            if request.param == "registry":
                path.unlink()


def get(store: Store, net: Net, *vaults: Vault, offline: bool = True, names: tuple[str, ...] = (WHEEL, DEB)) -> Amounts:
    said = Amounts()
    found = fetch.fetch(
        [wanted(name) for name in names], store=store, net=net, progress=said, vaults=vaults, offline=offline
    )
    assert {path.name: path.read_bytes() for path in found.values()} == {name: TEXTS[name] for name in names}
    assert list((store.root / "parts").iterdir()) == []
    return said


Filled = tuple["Vault", "Callable[[str, bytes], None]"]


def test_what_was_kept_comes_back(filled: Filled, store: Store, net: Net) -> None:
    said = get(store, net, filled[0])
    assert said.notes == []
    assert said.said[-1] == (sum(len(TEXTS[name]) for name in (WHEEL, DEB)),) * 2


def test_the_store_goes_first(filled: Filled, store: Store, net: Net) -> None:
    get(store, net, filled[0])
    filled[1](WHEEL, b"A WHEEL")
    assert get(store, net, filled[0]).notes == []


def test_a_corrupt_entry_is_named_and_never_used(filled: Filled, store: Store, net: Net) -> None:
    vault, spoil = filled
    spoil(WHEEL, b"A WHEEL")
    with pytest.raises(fetch.MissingError) as caught:
        get(store, net, vault)
    assert [one.filename for one in caught.value.missing] == [WHEEL]
    (trouble,) = caught.value.troubles
    assert trouble.startswith(f"the vault {vault.name} has another file: {WHEEL} is not the file in the lock")
    assert files.sha256_bytes(b"A WHEEL") in trouble
    assert store.file(files.sha256_bytes(TEXTS[WHEEL]), WHEEL) is None
    assert list((store.root / "parts").iterdir()) == []


def test_behind_a_corrupt_entry_the_next_source_is_tried(
    filled: Filled, store: Store, net: Net, tmp_path: Path
) -> None:
    vault, spoil = filled
    spoil(WHEEL, b"A WHEEL")
    (tmp_path / "second").mkdir()
    second = open_vault("second", net, root=tmp_path, where="test")
    writable([second])[0].keep(contents(tmp_path / "inputs"), SilentProgress(), thorough=False)
    said = get(store, net, vault, second)
    assert len(said.notes) == 1
    assert vault.name in said.notes[0]


def test_what_a_vault_has_not_is_said_for_every_file(filled: Filled, store: Store, net: Net) -> None:
    missing = [wanted(f"m{number}.whl", data=bytes([number])) for number in range(3)]
    with pytest.raises(fetch.MissingError, match="3 files are neither in the store nor in a vault") as caught:
        fetch.fetch(
            [wanted(WHEEL), *missing], store=store, net=net, progress=Amounts(), vaults=[filled[0]], offline=True
        )
    assert list(caught.value.missing) == missing
    assert caught.value.troubles == ()
    assert store.file(files.sha256_bytes(TEXTS[WHEEL]), WHEEL)


def test_the_listing_says_what_is_kept(filled: Filled) -> None:
    data = filled[0].listing(lock_digest(LOCK))
    assert data is not None
    assert read_listing(data, where="") == {name: (files.sha256_bytes(text), len(text)) for name, text in TEXTS.items()}
    assert filled[0].listing(Digest("0" * 64)) is None


def test_told_to_stop_it_stops(filled: Filled, tmp_path: Path) -> None:
    from buildonce.system.net import Interrupted

    (tmp_path / "part").touch()
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        filled[0].bring(wanted(DEB), tmp_path / "part", came=lambda _: None, stop=stop)


@pytest.mark.parametrize("kind", ["folder", "bundle", "web", "registry", "no tar"])
def test_a_vault_that_is_not_there_is_named_once(kind: str, store: Store, net: Net, tmp_path: Path) -> None:
    (tmp_path / "no.tar").write_bytes(b"no archive" * 1000)
    port = ports.free()
    place = {
        "folder": "gone",
        "bundle": "gone.tar",
        "web": f"http://127.0.0.1:{port}/v",
        "registry": f"oci://127.0.0.1:{port}/v",
        "no tar": "no.tar",
    }[kind]
    vault = open_vault(place, net, root=tmp_path, where="test")
    with pytest.raises(fetch.MissingError) as caught:
        get(store, net, vault, names=(WHEEL, DEB))
    (trouble,) = caught.value.troubles
    assert trouble.startswith(f"the vault {vault.name} is not used: ")
    assert not (tmp_path / "gone").exists(), "it may be a mount that is missing"


class Deaf(Net):
    """Nothing may be asked of anybody."""

    def _connected(self) -> object:  # type: ignore[override]
        pytest.fail("offline, and somebody was asked")


def test_offline_no_socket_is_opened(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("offline, and a socket was opened")

    found = contents(tmp_path / "inputs")
    (tmp_path / "vault").mkdir()
    net = Deaf()
    vault = open_vault("vault", net, root=tmp_path, where="test")
    monkeypatch.setattr(socket, "socket", refuse)
    writable([vault])[0].keep(found, SilentProgress(), thorough=True)
    get(store, net, vault)
    with pytest.raises(fetch.MissingError):
        fetch.fetch(
            [wanted("x.whl", data=b"x")], store=store, net=net, progress=SilentProgress(), vaults=[vault], offline=True
        )


def test_offline_a_file_beside_the_lock_is_no_upstream(store: Store, net: Net, tmp_path: Path) -> None:
    from dataclasses import replace

    beside = tmp_path / "beside.whl"
    file: RemoteFile = replace(wanted(WHEEL), url="", path=beside)
    with pytest.raises(fetch.MissingError):
        fetch.fetch([file], store=store, net=net, progress=SilentProgress(), offline=True)
    beside.write_bytes(TEXTS[WHEEL])
    assert fetch.fetch([file], store=store, net=net, progress=SilentProgress(), offline=True)


@pytest.mark.parametrize(
    "place", ["ftp://example.org/x", "file://other.example.org/x", "oci://Host/UPPER", "s3://bucket/x"]
)
def test_what_is_no_vault(place: str, net: Net, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_vault(place, net, root=tmp_path, where="BUILDONCE_VAULT")
    assert caught.value.problems[0].where == "BUILDONCE_VAULT"
    assert caught.value.problems[0].hint


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("vault", "{root}/vault"),
        ("/srv/vault", "/srv/vault"),
        ("file:///srv/my%20vault", "/srv/my vault"),
        ("https://ada:secret@example.org/v/?token=1", "https://example.org/v/"),
        ("oci://example.org/v", "oci://example.org/v"),
        ("inputs.tar", "{root}/inputs.tar"),
    ],
)
def test_names(place: str, name: str, net: Net, tmp_path: Path) -> None:
    assert open_vault(place, net, root=tmp_path, where="").name == name.format(root=tmp_path)


def test_bundles_are_equal_for_equal_inputs(tmp_path: Path) -> None:
    for number in (1, 2):
        bundle.write(tmp_path / f"{number}.tar", contents(tmp_path / f"inputs{number}"), SilentProgress())
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()


def test_an_unpacked_bundle_is_a_folder_vault(tmp_path: Path, store: Store, net: Net) -> None:
    import tarfile

    said = Amounts()
    bundle.write(tmp_path / "inputs.tar", contents(tmp_path / "inputs"), said)
    total = sum(map(len, TEXTS.values()))
    assert said.said[-1] == (total, total)
    with tarfile.open(tmp_path / "inputs.tar") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    get(store, net, open_vault("unpacked", net, root=tmp_path, where=""))


def test_a_bundle_that_was_cut_off(tmp_path: Path, store: Store, net: Net) -> None:
    path = tmp_path / "inputs.tar"
    bundle.write(path, contents(tmp_path / "inputs"), SilentProgress())
    path.write_bytes(path.read_bytes()[:200_000])
    with pytest.raises(ReleaseError):
        get(store, net, open_vault("inputs.tar", net, root=tmp_path, where=""))


@pytest.mark.parametrize("trouble", [KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
def test_of_a_bundle_nothing_is_left_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: BaseException
) -> None:
    found = contents(tmp_path / "inputs")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/inputs.tar").write_bytes(b"the one before")

    def stop(self: object, detail: str, done: int, total: int) -> None:
        if done > 100_000:
            raise trouble

    monkeypatch.setattr(SilentProgress, "advance", stop)
    with pytest.raises((KeyboardInterrupt, ReleaseError)) as caught:
        bundle.write(tmp_path / "out/inputs.tar", found, SilentProgress())
    if isinstance(caught.value, ReleaseError):
        assert str(caught.value) == "the disk is full"
        assert "--out" in caught.value.problems[0].hint
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["inputs.tar"]
    assert (tmp_path / "out/inputs.tar").read_bytes() == b"the one before"
