"""Every command of the documentation, run as a reader runs it: each page is one script, in the place it speaks of.

The `text` block below a command is what it prints, but for numbers. Commands in `console` blocks are run elsewhere:
``tests/test_docs.py`` says where.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from platformdirs import user_cache_path

from buildonce import target as targets
from buildonce.debs import lock as deb_lock
from buildonce.signing import keys
from tests import pages
from tests.integration import carried, hosts
from tests.integration.conftest import QUIET
from tests.pages import PAGES, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.integration.conftest import Built, Example
    from tests.integration.hosts import Host
    from tests.pages import Block

README = ROOT / "README.md"
TUTORIAL = ROOT / "docs/tutorial/first-release.md"
OFFLINE = ROOT / "docs/how-to/install-offline.md"
ELSEWHERE = {ROOT / "docs/how-to/verify-without-buildonce.md": "test_native_verifiers.py"}
OWN_PLACE = {README, TUTORIAL, OFFLINE, *ELSEWHERE}
IN_A_PROJECT = [
    page for page in PAGES if page not in OWN_PLACE and any(one.language == "sh" for one in pages.blocks(page))
]
MARK = "\x1e"  # between the output of one block and the next


def store() -> Path:
    return Path(os.environ.get("BUILDONCE_STORE") or user_cache_path("buildonce"))


@pytest.fixture
def reader(tmp_path: Path) -> dict[str, str]:
    """The environment of a person who just came: an empty home. Only caches are shared, so that it is quick."""
    home = tmp_path / "home"
    home.mkdir()
    gone = ("XDG_", "BUILDONCE_", "RELEASE_", "GIT_", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(gone)}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "BUILDONCE_STORE": str(store()),
        "PIP_CACHE_DIR": os.environ.get("PIP_CACHE_DIR", str(user_cache_path("pip"))),
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(user_cache_path("uv"))),
        # A command of a page must never reach a repository around the test's folder.
        "GIT_CEILING_DIRECTORIES": str(tmp_path.parent),
    }


def follow(page: Path, place: Path, environment: Mapping[str, str], *, heading: str | None = None) -> None:
    """Run the `sh` blocks of *page* (below *heading*) as one script in *place*, and compare what they print."""
    blocks = [one for one in pages.blocks(page) if heading in (None, one.heading)]
    commands = [one for one in blocks if one.language == "sh"]
    assert commands, f"{page} has no commands below {heading}"
    script = f"printf '{MARK}'\n".join(block.text for block in commands)
    done = subprocess.run(
        ["sh", "-euc", script],
        cwd=place,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    printed = done.stdout.split(MARK)
    failed = commands[min(len(printed), len(commands)) - 1]
    assert done.returncode == 0, f"{page}:{failed.line} ended with {done.returncode}\n{failed.text}\n{printed[-1]}"
    compare(page, blocks, printed)


def compare(page: Path, blocks: Sequence[Block], printed: Sequence[str]) -> None:
    number = -1
    for before, block in zip((None, *blocks), blocks, strict=False):
        number += block.language == "sh"
        picture = block.text.startswith("$ ")
        if block.language == "text" and not picture and before is not None and before.language == "sh":
            found = {without_numbers(line) for line in printed[number].splitlines()}
            missing = [line for line in block.text.splitlines() if line and without_numbers(line) not in found]
            assert missing == [], f"{page}:{block.line} was not printed; this was:\n{printed[number]}"


def without_numbers(line: str) -> str:
    return re.sub(r"[0-9]+", "N", line).rstrip()


@pytest.fixture
def project(orders: Example, first: Built, tmp_path: Path) -> Path:
    """A clone of orders at v1.4.0, locked, with the release in dist/."""
    place = tmp_path / "orders"
    subprocess.run(["git", "clone", "--quiet", str(orders.root), str(place)], check=True)
    for command in (["checkout", "--quiet", "-B", "main", "v1.4.0"], ["config", "user.name", "Ada"]):
        subprocess.run(["git", "-C", str(place), *command], check=True)
    subprocess.run(["git", "-C", str(place), "config", "user.email", "ada@example.org"], check=True)
    shutil.copytree(first.folder, place / "dist" / first.folder.name)
    (place / "dist/.gitignore").write_text("*\n")
    return place


def test_the_tutorial(reader: dict[str, str], tmp_path: Path) -> None:
    place = tmp_path / "empty"
    place.mkdir()
    follow(TUTORIAL, place, reader)
    left = subprocess.run(
        ["git", "-C", str(place / "hello"), "status", "--porcelain"], check=True, capture_output=True, text=True
    )
    assert left.stdout == "", "a release must not be committed by the next `git add`"


@pytest.mark.parametrize("page", IN_A_PROJECT, ids=pages.name)
def test_a_page(page: Path, project: Path, reader: dict[str, str], tmp_path: Path) -> None:
    """In a project, with what the pages speak of: a passphrase, a folder with secrets, sources of apt."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "passphrase").write_text("correct horse\n")
    keys.new(secrets / "release", b"correct horse")
    (tmp_path / "home/target.sources").write_text(deb_lock.sources(targets.load("debian-12")))
    passphrase = {"RELEASE_KEY_PASSPHRASE_FILE": str(secrets / "passphrase")}
    follow(page, project, {**reader, **passphrase, "SECRETS": str(secrets)})


def test_the_two_commands_of_the_readme(project: Path, reader: dict[str, str]) -> None:
    follow(README, project, reader, heading="")


def test_the_picture_in_the_readme_is_what_a_terminal_shows(project: Path, reader: dict[str, str]) -> None:
    """Line by line, but for numbers and the shortened digests."""
    shutil.rmtree(project / "dist")
    # The key of this machine is made before, and said once.
    subprocess.run(["release", "build", "-q"], cwd=project, env=reader, check=True, capture_output=True)
    run = ["script", "--quiet", "--return", "--command", "stty cols 150; release build", "/dev/null"]
    shown = subprocess.run(
        run, cwd=project, env={**reader, "TERM": "xterm"}, check=True, capture_output=True, text=True
    )
    (picture,) = (one.text for one in pages.blocks(README) if one.text.startswith("$ release build"))

    def lines(text: str) -> list[str]:
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")
        digests = re.sub(r"\b[0-9a-f]{12}(?:…|[0-9a-f]{52})", "DIGEST", plain)
        rows = (re.sub(r" +", " ", without_numbers(line)) for line in digests.splitlines())
        return [row for row in rows if row and not re.match(r"[\u2800-\u28ff]|\$ |in /", row)]  # spinners: braille

    assert lines(picture) == lines(shown.stdout)


def test_from_pip_to_a_verified_release(project: Path, reader: dict[str, str], tmp_path: Path) -> None:
    """The README's "Use it", with the wheel of this checkout in place of the index's."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "wheel"), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "wheel").glob("buildonce-*.whl")
    (tmp_path / "constraints.txt").write_text(f"buildonce @ {wheel.as_uri()}\n")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    project.rename(tmp_path / "my-project")
    place = tmp_path / "my-project"
    shutil.rmtree(place / "dist")
    text = (place / "pyproject.toml").read_text("utf-8")
    (place / "pyproject.toml").write_text(text.replace('name = "orders"', 'name = "my-project"'), "utf-8")
    subprocess.run(["git", "-C", str(place), "rm", "--quiet", "--cached", "pylock.toml"], check=True)
    (place / "pylock.toml").unlink()
    subprocess.run(["git", "-C", str(place), "commit", "--quiet", "-am", "Not locked yet"], check=True)
    path = f"{tmp_path / 'venv/bin'}:{os.environ['PATH']}"
    environment = {**reader, "PATH": path, "PIP_CONSTRAINT": str(tmp_path / "constraints.txt")}
    follow(README, tmp_path, environment, heading="Use it")


@pytest.fixture(scope="module")
def offline(os_packages: Path, first: Built) -> Iterator[Host]:
    """A host without network; it has the release in /srv/release and, in a folder that apt reads, OS packages."""
    with hosts.running(hosts.HOST.tag(), command=["sleep", "infinity"], init=True) as host:
        carried.accept(host, os_packages)
        for kind in ("deb", "wheelhouse", "pex"):
            host.put(first.file(kind), "/srv/release")
        yield host


@pytest.mark.parametrize("heading", ["deb", "wheelhouse", "pex"])
def test_installing_offline(offline: Host, first: Built, heading: str) -> None:
    """In the order of the page: the deb brings the interpreter and libpq5."""
    commands = [one.text for one in pages.blocks(OFFLINE) if one.heading == heading and one.language == "sh"]
    assert commands
    if heading != "deb":
        offline.run("apt-get", "install", "-qq", "python3.11", "libpq5", environment=QUIET)
    said = offline.sh("cd /srv/release\n" + "".join(commands), environment=QUIET)
    assert said.splitlines()[-1] == first.version


def test_pex_installs_without_running(offline: Host, first: Built) -> None:
    """The line in docs/reference/builders/pex.md."""
    texts = [one.text for one in pages.blocks(ROOT / "docs/reference/builders/pex.md") if one.language == "console"]
    (line,) = re.findall(r"^\$ (PEX_TOOLS=1 [^#\n]*)", "".join(texts), re.MULTILINE)
    offline.run("apt-get", "install", "-qq", "python3.11", "libpq5", environment=QUIET)
    offline.sh(f"cd /srv/release; rm -rf /srv/orders; {line}")
    assert offline.run("/srv/orders/bin/orders", "--version").strip() == first.version


def test_running_the_image(first: Built, reader: dict[str, str]) -> None:
    try:
        follow(OFFLINE, first.folder, reader, heading="image")
    finally:
        subprocess.run(["docker", "image", "rm", f"orders:{first.version}"], check=False, capture_output=True)


def test_every_heading_of_installing_offline_is_run() -> None:
    found = {one.heading for one in pages.blocks(OFFLINE) if one.language == "sh"}
    assert found == {"deb", "wheelhouse", "pex", "image"}


def test_a_newcomer_sees_the_demo(reader: dict[str, str], tmp_path: Path) -> None:
    """``./dev demo`` in a fresh clone, which makes its own environment."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
    )
    clone = tmp_path / "clone"
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
    (clone / "recipes").mkdir(exist_ok=True)
    done = subprocess.run(
        ["./dev", "demo", "hello"], cwd=clone, env=reader, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^oci +hello-1\.2\.0\.dev2", done.stdout, re.MULTILINE), done.stdout
    assert "The release is in " in done.stdout
