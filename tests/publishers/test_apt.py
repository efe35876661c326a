"""The apt repository: what is particular to it. Real hosts read it in ``tests/integration/test_apt_hosts.py``."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from buildonce import manifest, publishing
from buildonce.debs.fields import paragraphs
from buildonce.errors import ConfigurationError, MissingToolError, ReleaseError, VerificationError
from buildonce.publishers import AptPublisher
from buildonce.signing import keys
from buildonce.system.console import SilentProgress
from tests import small_release
from tests.crashing import Crashes
from tests.publishers import making
from tests.publishers.sites import APT, AptSite, means

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.publishers import Outgoing, Publisher
    from buildonce.signing import Key, PublicKey
    from tests.conftest import Told

DAY = 86_400
NOW = small_release.EPOCH + DAY


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "apt"
    made.mkdir()
    return made


def publisher(root: Path, key: Key, *trusted: PublicKey, now: float = NOW, **settings: Any) -> AptPublisher:
    chosen = APT.model_copy(update=settings)
    return AptPublisher(root, chosen, means(key, *trusted), clock=lambda: now)


def publish(root: Path, release: Outgoing, key: Key, **options: Any) -> None:
    deliver(publisher(root, key, **options), release)


def deliver(to: Publisher, release: Outgoing) -> None:
    publishing.deliver("apt", to, release, SilentProgress())


def facts(root: Path, suite: str = "bookworm") -> dict[str, str]:
    (found,) = paragraphs((root / "dists" / suite / "Release").read_text())
    return found


def listed(root: Path, suite: str = "bookworm", architecture: str = "amd64") -> list[str]:
    text = (root / f"dists/{suite}/main/binary-{architecture}/Packages").read_text()
    return [one["Version"] for one in paragraphs(text)]


def test_gpgv_takes_both_signatures(root: Path, key: Key, tmp_path: Path) -> None:
    publish(root, making.release(tmp_path / "one"), key)
    keyring, suite = root / "bookworm.gpg", root / "dists/bookworm"
    for files in (["InRelease"], ["Release.gpg", "Release"]):
        done = subprocess.run(
            ["gpgv", "--keyring", str(keyring), *files], cwd=suite, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    opened = subprocess.run(
        ["gpgv", "--keyring", str(keyring), "--output", "-", "InRelease"], cwd=suite, capture_output=True, check=True
    )
    assert opened.stdout == (suite / "Release").read_bytes()


def test_what_the_release_file_says(root: Path, key: Key, tmp_path: Path) -> None:
    publish(root, making.release(tmp_path / "one"), key, valid_days=7, origin="Example Team")
    found = facts(root)
    assert found["Origin"] == found["Label"] == "Example Team"
    assert found["Suite"] == found["Codename"] == "bookworm"
    assert found["Date"] == "Wed, 15 Nov 2023 22:13:20 UTC"
    assert found["Valid-Until"] == "Wed, 22 Nov 2023 22:13:20 UTC"
    assert found["Acquire-By-Hash"] == "yes"
    for name in ("MD5Sum", "SHA1"):
        assert name not in found


def test_versions_stay_and_architectures_have_lists_of_their_own(root: Path, key: Key, tmp_path: Path) -> None:
    publish(root, making.release(tmp_path / "one", "1.0"), key)
    publish(root, making.release(tmp_path / "ten", "1.10", making.BOOKWORM, making.BOOKWORM_ARM64), key)
    publish(root, making.release(tmp_path / "two", "1.2"), key)
    assert listed(root) == ["1.0.0-1+deb12", "1.2.0-1+deb12", "1.10.0-1+deb12"]
    assert listed(root, architecture="arm64") == ["1.10.0-1+deb12"]
    assert facts(root)["Architectures"] == "amd64 arm64"
    assert len(list(root.glob("pool/main/t/tinyapp/*.deb"))) == 4


def test_every_debian_release_has_its_suite(root: Path, key: Key, tmp_path: Path) -> None:
    publish(root, making.release(tmp_path / "one", "1.0", making.BOOKWORM, making.TRIXIE), key)
    assert (listed(root), listed(root, "trixie")) == (["1.0.0-1+deb12"], ["1.0.0-1+deb13"])


def test_debs_of_two_debian_releases_never_meet(root: Path, key: Key, tmp_path: Path) -> None:
    both = making.release(tmp_path / "both", "1.0", making.BOOKWORM, making.TRIXIE)
    with pytest.raises(ConfigurationError, match="bookworm and trixie cannot be in one suite"):
        publisher(root, key, suite="stable").prepare(both)
    publish(root, making.release(tmp_path / "old", "1.0"), key, suite="stable")
    with pytest.raises(ConfigurationError, match="another Debian release"):
        publisher(root, key, suite="stable").prepare(making.release(tmp_path / "new", "2.0", making.TRIXIE))


def test_a_release_without_a_deb_is_refused(root: Path, key: Key, release: Outgoing) -> None:
    left = tuple(one for one in release.manifest.artifacts if one.kind != "deb")
    data = manifest.make(
        name="tinyapp",
        version=small_release.VERSION,
        source=small_release.SOURCE,
        locks=small_release.LOCKS,
        targets=release.manifest.targets,
        artifacts=left,
        tools=small_release.TOOLS,
    )
    without = type(release)(
        folder=release.folder, manifest=manifest.read(data), files=release.files, digest=release.digest
    )
    with pytest.raises(ReleaseError, match="has no deb"):
        publisher(root, key).prepare(without)


def test_staging_to_production_in_one_repository(root: Path, key: Key, tmp_path: Path) -> None:
    staging, production = (publisher(root, key, suite=name) for name in ("{codename}-staging", "{codename}"))
    sent = making.release(tmp_path / "one", "1.0")
    deliver(staging, sent)
    assert [path.name for path in root.glob("dists/*")] == ["bookworm-staging"]
    staging.collect("tinyapp", "1.0", tmp_path / "taken")
    taken = type(sent)(folder=tmp_path / "taken", manifest=sent.manifest, files=sent.files, digest=sent.digest)
    deliver(production, taken)
    assert listed(root) == listed(root, "bookworm-staging") == ["1.0.0-1+deb12"]
    assert len(list(root.glob("pool/**/*.deb"))) == 1


def test_only_what_is_listed_is_promoted(root: Path, key: Key, tmp_path: Path) -> None:
    deliver(publisher(root, key, suite="{codename}-staging"), making.release(tmp_path / "one", "1.0"))
    for suite, version in (("{codename}", "1.0"), ("{codename}-staging", "2.0")):
        with pytest.raises(ReleaseError, match="not published there"):
            publisher(root, key, suite=suite).collect("tinyapp", version, tmp_path / "taken")


def test_promotion_to_another_repository_brings_the_same_bytes(root: Path, key: Key, tmp_path: Path) -> None:
    sent = making.release(tmp_path / "one", "1.0")
    publish(root, sent, key)
    publisher(root, key).collect("tinyapp", "1.0", tmp_path / "taken")
    (tmp_path / "other").mkdir()
    taken = type(sent)(folder=tmp_path / "taken", manifest=sent.manifest, files=sent.files, digest=sent.digest)
    publish(tmp_path / "other", taken, key)
    site = AptSite(tmp_path / "other", key)
    assert site.seen(taken) == site.expected(sent) != {}


@pytest.mark.parametrize("place", ["dists/bookworm/InRelease", "by-hash"])
def test_nothing_that_somebody_changed_is_signed_again(root: Path, key: Key, tmp_path: Path, place: str) -> None:
    """Whoever can write to the folder gets no signature for it."""
    publish(root, making.release(tmp_path / "one", "1.0"), key)
    path = root / place
    if place == "by-hash":
        lists = (root / "dists/bookworm/main/binary-amd64/by-hash/SHA256").iterdir()
        path = next(path for path in lists if path.read_bytes().startswith(b"Package"))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"tinyapp", b"tinyape", 1))
    assert path.read_bytes() != data
    with pytest.raises(VerificationError):
        publisher(root, key).prepare(making.release(tmp_path / "two", "2.0"))


def test_a_deb_that_was_changed_in_the_pool_is_noticed(root: Path, key: Key, tmp_path: Path) -> None:
    one = making.release(tmp_path / "one", "1.0")
    publish(root, one, key)
    (deb,) = root.glob("pool/**/*.deb")
    deb.write_bytes(deb.read_bytes()[:-1] + b"?")
    with pytest.raises(VerificationError, match="other bytes"):
        publisher(root, key).prepare(one)


def test_another_key_is_refused(root: Path, key: Key, tmp_path: Path) -> None:
    """Its hosts would refuse the repository from then on."""
    publish(root, making.release(tmp_path / "one", "1.0"), key)
    other = small_release.key(tmp_path / "keys", "other")
    two = making.release(tmp_path / "two", "2.0")
    with pytest.raises(ReleaseError, match="which its hosts trust") as refused:
        publisher(root, other, key.public).prepare(two)
    assert "--new-key" in refused.value.problems[0].hint
    with pytest.raises(VerificationError, match="no trusted key"):
        publisher(root, other).prepare(two)


def test_time_goes_forwards_for_hosts(root: Path, key: Key, tmp_path: Path) -> None:
    """apt ignores a Release file that is older than the one before."""
    publish(root, making.release(tmp_path / "one", "1.0"), key, now=NOW)
    publish(root, making.release(tmp_path / "two", "2.0"), key, now=NOW - 60)
    assert facts(root)["Date"] == "Wed, 15 Nov 2023 22:13:21 UTC"


def test_a_clock_that_is_wrong_is_noticed(root: Path, key: Key, tmp_path: Path) -> None:
    publish(root, making.release(tmp_path / "one", "1.0"), key, now=NOW)
    before = (root / "dists/bookworm/InRelease").read_bytes()
    with pytest.raises(ReleaseError, match="3600 s in the future"):
        publish(root, making.release(tmp_path / "two", "2.0"), key, now=NOW - 3600)
    assert (root / "dists/bookworm/InRelease").read_bytes() == before
    with pytest.raises(ReleaseError, match="committed in the future"):
        publisher(root, key, now=NOW - 30 * DAY).prepare(making.release(tmp_path / "three", "3.0"))


def test_again_is_no_change_until_it_is_out_of_date(root: Path, key: Key, tmp_path: Path) -> None:
    one = making.release(tmp_path / "one", "1.0")
    publish(root, one, key, now=NOW)
    before = (root / "dists/bookworm/InRelease").read_bytes()
    publish(root, one, key, now=NOW + 29 * DAY)
    assert (root / "dists/bookworm/InRelease").read_bytes() == before
    publish(root, one, key, now=NOW + 31 * DAY)
    assert facts(root)["Date"].startswith("Sat, 16 Dec 2023")


def test_a_host_with_the_old_list_finds_it_until_it_is_out_of_date(root: Path, key: Key, tmp_path: Path) -> None:
    publish(root, making.release(tmp_path / "one", "1.0"), key, now=NOW)
    lists = root / "dists/bookworm/main/binary-amd64/by-hash/SHA256"
    old = {path.name for path in lists.iterdir()}
    publish(root, making.release(tmp_path / "two", "2.0"), key, now=NOW)
    assert {path.name for path in lists.iterdir()} > old
    for path in lists.iterdir():
        os.utime(path, (NOW, NOW))
    publish(root, making.release(tmp_path / "three", "3.0"), key, now=NOW + 31 * DAY)
    assert not {path.name for path in lists.iterdir()} & old


def test_without_apt_ftparchive_the_line_that_installs_it(
    root: Path, key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError) as missing:
        publisher(root, key).prepare(making.release(tmp_path / "one"))
    assert missing.value.problems[0].hint == "sudo apt-get install apt-utils"
    assert missing.value.exit_code == 5


def test_a_folder_that_is_not_there_or_full(
    root: Path, key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = making.release(tmp_path / "one")
    with pytest.raises(ReleaseError, match="no such folder"):
        publisher(tmp_path / "mount", key).prepare(one)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 5, 5))
    with pytest.raises(ReleaseError, match="disk is full"):
        publisher(root, key).prepare(one)
    assert list(root.iterdir()) == []


def test_many_at_once(root: Path, key: Key, tmp_path: Path) -> None:
    """Each with a release of its own: none is lost."""
    releases = [making.release(tmp_path / str(number), f"1.{number}") for number in range(5)]
    failures: list[Exception] = []

    def run(release: Outgoing) -> None:
        try:
            publish(root, release, key)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test tells
            failures.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in releases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert listed(root) == [f"1.{number}.0-1+deb12" for number in range(5)]


def test_what_a_host_is_given(root: Path, key: Key, tmp_path: Path) -> None:
    publish(root, making.release(tmp_path / "one"), key, url="https://apt.example.org/debian", valid_days=7)
    (sources,) = paragraphs((root / "bookworm.sources").read_text())
    assert sources["URIs"] == "https://apt.example.org/debian"
    assert sources["Check-Date"] == sources["Check-Valid-Until"] == "yes"
    assert sources["Valid-Until-Max"] == str(7 * DAY)
    assert "BEGIN PGP PUBLIC KEY BLOCK" in sources["Signed-By"]
    everything, own = paragraphs((root / "bookworm.pref").read_text())
    assert (everything["Package"], everything["Pin-Priority"]) == ("*", "-1")
    assert (own["Package"], own["Pin-Priority"]) == ("tinyapp", "500")


def publish_in(folder: Path, release: Outgoing, secret: Path) -> None:
    """In a process of its own, which is killed."""
    publish(folder, release, keys.load(secret, bytes))


def test_killed_at_every_change(tmp_path: Path, told: Told) -> None:
    """In between hosts see the old suite whole or the new one whole; again, and all is there."""
    key = small_release.key(tmp_path / "keys")
    old, new = making.release(tmp_path / "one", "1.0"), making.release(tmp_path / "two", "2.0", making.BOOKWORM)
    first, number, crashes = tmp_path / "first", itertools.count(), Crashes()
    first.mkdir()
    publish(first, old, key)
    site = AptSite(first, key)
    before, after = site.expected(old), site.expected(old) | site.expected(new)

    def fresh() -> Path:
        return shutil.copytree(first, tmp_path / "crashed" / str(next(number)))

    for folder in crashes.each(publish_in, new, tmp_path / "keys/team.key", below=fresh):
        site = AptSite(folder, key)
        assert site.seen(new) in (before, after), f"after {crashes.count} changes"
        publish(folder, new, key)
        assert site.seen(new) == after
        assert list(folder.rglob(".*.part")) == []
    told("apt: killed at each change of the disk", crashes.count)
    assert crashes.count > 40
