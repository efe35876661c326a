"""apt itself, asked about a small archive of our own."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import threading
from typing import TYPE_CHECKING

import pytest

from buildonce import target as targets
from buildonce.debs import lock
from buildonce.debs.archives import Archive
from buildonce.errors import ConfigurationError, LockError, MissingToolError, ReleaseError
from buildonce.system.run import HostRunner
from tests.debs import making, users

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buildonce.model import DebPin

TARGET = targets.load("debian-12")


class Repository:
    """A flat archive in a folder, as apt reads it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows: list[str] = []
        root.mkdir()

    def add(
        self,
        name: str,
        version: str = "1.0-1",
        architecture: str = "amd64",
        *,
        fields: dict[str, str] | None = None,
        hashes: tuple[str, ...] = ("MD5sum", "SHA256"),
    ) -> None:
        plain = version.partition(":")[2] or version
        given = {"Version": version, "Architecture": architecture, "Maintainer": "A <a@example.org>"}
        given |= fields or {}
        path = making.make(self.root / f"{name}_{plain}_{architecture}.deb", fields=given)
        data = path.read_bytes()
        more = {"Filename": f"./{path.name}", "Size": str(len(data))}
        more |= {field: hashlib.new(field.removesuffix("sum"), data).hexdigest() for field in hashes}
        row = {"Package": name, **given, **more, "Description": "x"}
        self.rows.append("".join(f"{field}: {value}\n" for field, value in row.items()))

    def archive(self) -> Archive:
        index = "\n".join(self.rows).encode()
        (self.root / "Packages").write_bytes(index)
        (self.root / "Packages.gz").write_bytes(gzip.compress(index))
        return Archive(uri=f"file:{self.root}", suite="./", components=(), options=(("trusted", "yes"),))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "archive")
    made.add("app", "2:1.0~rc1+b1-2", fields={"Depends": "libone (>= 1.0), mail-agent", "Recommends": "nice"})
    made.add("libone", "1.0-1", fields={"Multi-Arch": "same"})
    made.add("libone", "0.9-1")
    made.add("nice", architecture="all")
    made.add("agent", architecture="all", fields={"Provides": "mail-agent"})
    made.add("g++", architecture="all")
    made.add("python3.11", architecture="all")
    made.add("pythonx3x12", architecture="all")
    made.add("broken", fields={"Depends": "absent"})
    made.add("nosha", hashes=("MD5sum",))
    made.add("shaonly", hashes=("SHA256",))  # as in the security archive
    made.add("nothing", hashes=())
    return made


@pytest.fixture
def folder() -> Iterator[Path]:
    with users.common_folder() as made:
        yield made


def _resolve(
    repository: Repository, tmp_path: Path, *packages: str, asked: dict[str, str] | None = None
) -> tuple[DebPin, ...]:
    return lock.resolve(
        TARGET, packages, HostRunner(), state=tmp_path / "state", asked=asked, archives=[repository.archive()]
    )


def test_the_closure_has_the_sha256_of_the_signed_lists(repository: Repository, tmp_path: Path) -> None:
    pins = _resolve(repository, tmp_path, "g++", "app")
    assert [(pin.name, pin.version, pin.architecture) for pin in pins] == [
        ("agent", "1.0-1", "all"),
        ("app", "2:1.0~rc1+b1-2", "amd64"),
        ("g++", "1.0-1", "all"),
        ("libone", "1.0-1", "amd64"),
    ]
    for pin in pins:
        data = (repository.root / pin.file.filename).read_bytes()
        assert (pin.file.sha256, pin.file.size) == (hashlib.sha256(data).hexdigest(), len(data))
        assert pin.file.url.startswith("file:")
    assert _resolve(repository, tmp_path, "app", "g++", "app") == pins  # order and the cache of lists change nothing


def test_unknown_packages_are_named_all_at_once_with_their_place(repository: Repository, tmp_path: Path) -> None:
    asked = {"lib-one": "pyproject.toml: tool.release.build.x.apt"}
    with pytest.raises(ConfigurationError) as caught:
        _resolve(repository, tmp_path, "app", "lib-one", "python3.12", "-oAPT::x=1", asked=asked)
    by_message = {problem.message: problem for problem in caught.value.problems}
    assert set(by_message) == {
        f"debian-12 has no OS package {name!r}" for name in ("lib-one", "python3.12", "-oAPT::x=1")
    }
    found = by_message["debian-12 has no OS package 'lib-one'"]
    assert (found.where, found.hint) == (asked["lib-one"], "did you mean 'libone'?")


def test_what_cannot_be_installed_shows_what_apt_says(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot install") as caught:
        _resolve(repository, tmp_path, "broken")
    assert "absent" in caught.value.log


def test_a_package_without_md5_is_not_lost(repository: Repository, tmp_path: Path) -> None:
    assert [pin.name for pin in _resolve(repository, tmp_path, "libone", "shaonly")] == ["libone", "shaonly"]


@pytest.mark.parametrize("name", ["nosha", "nothing"])
def test_a_package_without_sha256_is_refused(repository: Repository, tmp_path: Path, name: str) -> None:
    with pytest.raises(LockError, match=f"no sha256 for an OS package.*{name}"):
        _resolve(repository, tmp_path, "libone", name)


def test_lists_that_cannot_be_read_are_an_error_and_never_older_ones(repository: Repository, tmp_path: Path) -> None:
    options = repository.archive().options
    serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(repository.root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever).start()
        uri = f"http://user:secret@127.0.0.1:{server.server_port}/"
        archives = [Archive(uri=uri, suite="./", components=(), options=options)]
        pins = lock.resolve(TARGET, ["app"], HostRunner(), state=tmp_path, archives=archives)
        server.shutdown()
    assert {pin.file.url.partition("./")[0] for pin in pins} == {f"http://127.0.0.1:{server.server_port}/"}
    with pytest.raises(ReleaseError, match="could not read the package lists") as caught:
        lock.resolve(TARGET, ["app"], HostRunner(), state=tmp_path, archives=archives)
    assert "secret" not in str(caught.value.problems)
    assert "export BUILDONCE_APT_SOURCES=" in caught.value.problems[0].hint


def test_without_apt_says_so(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archives = [repository.archive()]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match="apt, which resolves"):
        lock.resolve(TARGET, ["app"], HostRunner(), state=tmp_path / "state", archives=archives)


@pytest.mark.integration
def test_an_ordinary_user_gets_the_same(folder: Path) -> None:
    repository = Repository(folder / "archive")
    repository.add("app", fields={"Depends": "libone"})
    repository.add("libone")
    expected = _resolve(repository, folder, "app")
    code = """
import sys
from pathlib import Path
from buildonce import target
from buildonce.debs import lock
from buildonce.debs.archives import Archive
from buildonce.system.run import HostRunner
archive = Archive(uri=sys.argv[1], suite="./", components=(), options=(("trusted", "yes"),))
state = Path(sys.argv[2])
print(lock.resolve(target.load("debian-12"), ["app"], HostRunner(), state=state, archives=[archive]))
"""
    for user in ("", *users.OTHERS):
        state = folder / f"state-{user}"
        state.mkdir()
        state.chmod(0o777)
        found = users.run(code, f"file:{repository.root}", str(state), user=user)
        assert found.strip() == str(expected)
