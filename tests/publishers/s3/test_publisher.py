"""A bucket as a destination: what is particular to it."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from buildonce import publishing
from buildonce.destinations import S3Destination
from buildonce.errors import VerificationError
from buildonce.model import Digest
from buildonce.publishers import FolderPublisher, Outgoing, Parcel, Shelf
from buildonce.publishers.s3.bucket import Bucket, Object
from buildonce.system import files
from buildonce.system.console import SilentProgress
from tests.publishers import making
from tests.publishers.s3_sites import S3Site, publish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from buildonce.signing import Key
    from tests.faults import Proxy


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("bucket", ["releases", "a.b-c", "0" * 63], ["Releases", "ab", "-ab", "a_b", "a/b", "a" * 64, "bucket\n"]),
        (
            "prefix",
            ["", "team", "team/stable", "a.b/c+d@1"],
            ["/a", "a/", "a//b", "..", "a/../b", "a/.", "a b", "a?b", "a\n"],
        ),
        (
            "endpoint",
            ["https://minio.example.org", "http://10.0.0.1:9000/"],
            ["minio", "https://user:secret@host/", "s3://x"],
        ),
        ("region", ["eu-central-1"], ["", "eu central", "eu/1"]),
    ],
)
def test_the_table(key: str, good: list[str], bad: list[str]) -> None:
    table = {"type": "s3", "bucket": "releases"}
    assert [getattr(S3Destination.model_validate({**table, key: one}), key) for one in good] == good
    for one in bad:
        with pytest.raises(ValidationError, match="is not"):
            S3Destination.model_validate({**table, key: one})


def test_credentials_are_no_part_of_the_table() -> None:
    with pytest.raises(ValidationError, match="secret_key"):
        S3Destination.model_validate({"type": "s3", "bucket": "releases", "secret_key": "x"})


def test_boto3_is_imported_only_where_it_is_used() -> None:
    script = "import sys, buildonce.publishers; print(sorted({'boto3', 'botocore'} & set(sys.modules)))"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "[]\n"


def test_it_is_a_shelf(site: S3Site) -> None:
    assert isinstance(site.publisher(), Shelf)


def test_again_writes_nothing(behind: S3Site, proxy: Proxy, release: Outgoing) -> None:
    publish(behind, release)
    proxy.reset()
    assert publish(behind, release).sent == ()
    assert {one.method for one in proxy.exchanges} == {"GET", "HEAD"}


def test_the_order_of_writing(behind: S3Site, proxy: Proxy, release: Outgoing) -> None:
    """The manifest first, SHA256SUMS after all other files, the page last."""
    publish(behind, release)
    written = [one.path.partition("?")[0].rpartition("/")[2] for one in proxy.exchanges if one.method == "PUT"]
    assert written[:2] == ["release.json", "release.json"]  # the second is refused, as it has to be
    assert written[-2:] == ["SHA256SUMS", "index.html"]
    assert len(written) == len(release.sent()) + 2


def test_what_readers_are_told(site: S3Site, release: Outgoing) -> None:
    publish(site, release)
    told = {}
    for name in site.names():
        found = site.client.head_object(Bucket=site.bucket, Key=f"team/stable/{name}")
        told[name.rpartition("/")[2]] = (found["ContentType"], found["CacheControl"])
        if not name.endswith("index.html"):
            assert found["Metadata"]["sha256"] == site.digest(name)
    forever = "public, max-age=31536000, immutable"
    assert told["index.html"] == ("text/html; charset=utf-8", "no-cache")
    assert told["SHA256SUMS"] == ("text/plain; charset=utf-8", forever)
    assert told["release.json"] == ("application/json", forever)
    assert {cache for name, (_, cache) in told.items() if name != "index.html"} == {forever}
    assert not any(name.endswith(".log") for name in site.names())


def test_without_a_prefix(key: Key, release: Outgoing) -> None:
    site = S3Site(key, prefix="")
    publish(site, release)
    assert site.seen(release) == site.expected(release)
    assert f"{release.manifest.name}/index.html" in site.names()


def test_the_page_lists_whole_versions(site: S3Site, tmp_path: Path) -> None:
    first, second = (making.release(tmp_path / one, one) for one in ("1.0", "1.1"))
    publish(site, first)
    site.delete(f"tinyapp/1.0/{next(iter(first.files))}")
    site.put("tinyapp/1.0/folder/", b"")  # as consoles make them
    site.put("tinyapp/0.9/SHA256SUMS.asc", b"not whole")
    publish(site, second)
    assert re.findall('id="([^"]+)"', site.text("tinyapp/index.html")) == ["1.1"]
    publish(site, first)  # what was lost comes back
    assert re.findall('id="([^"]+)"', site.text("tinyapp/index.html")) == ["1.1", "1.0"]
    assert site.seen(first) == {**site.expected(first), "folder/": files.sha256_bytes(b"")}


def test_pages_are_the_same_bytes_as_in_a_folder(site: S3Site, small: Outgoing, tmp_path: Path) -> None:
    publish(site, small)
    publishing.deliver("shelf", FolderPublisher(tmp_path), small, SilentProgress())
    assert (tmp_path / "tinyapp/index.html").read_bytes() == site.get("tinyapp/index.html")


def test_what_others_attest_is_added(behind: S3Site, proxy: Proxy, release: Outgoing, tmp_path: Path) -> None:
    """And a signature made anew changes nothing."""
    publish(behind, release)
    more = shutil.copytree(release.folder, tmp_path / "more")
    signer = next((more / "attestations").iterdir())
    shutil.copytree(signer, signer.with_name("rebuilder-0123abcd"))
    (more / "SHA256SUMS.asc").write_text("made anew\n")
    again = Outgoing(folder=more, manifest=release.manifest, files=release.files, digest=release.digest)
    proxy.reset()
    publish(behind, again)
    written = {one.path.rpartition("/")[0].rpartition("/")[2] for one in proxy.exchanges if one.method == "PUT"}
    assert written == {"rebuilder-0123abcd"}
    seen, expected = behind.seen(again), behind.expected(again)
    assert seen.keys() == expected.keys()
    assert {name for name in seen if seen[name] != expected[name]} == {"SHA256SUMS.asc"}


def test_signatures_made_anew_by_two_at_once(site: S3Site, release: Outgoing, tmp_path: Path) -> None:
    """Those that are there first stay: they are as good."""
    anew = shutil.copytree(release.folder, tmp_path / "anew")
    (anew / "SHA256SUMS.asc").write_text("made anew\n")
    ours = Outgoing(folder=anew, manifest=release.manifest, files=release.files, digest=release.digest)
    publisher = site.publisher()
    parcels = publisher.prepare(ours)
    publish(site, release)
    before = site.state()
    for one in parcels:
        publisher.send(one, ours, lambda _: None)
    publisher.reveal(ours)
    publisher.read_back(ours)
    assert site.state() == before


def test_a_page_that_lost_the_version(site: S3Site, small: Outgoing) -> None:
    publish(site, small)
    before = site.get("tinyapp/index.html")
    site.put("tinyapp/index.html", b"written by something else")
    with pytest.raises(VerificationError, match="the page does not list the version"):
        site.publisher().read_back(small)
    publish(site, small)
    assert site.get("tinyapp/index.html") == before


def at_once(*work: Callable[[], object]) -> list[Exception]:
    """Do it all in threads that begin together; answers what they raised."""
    failures: list[Exception] = []
    gate = threading.Barrier(len(work))

    def run(one: Callable[[], object]) -> None:
        gate.wait()
        try:
            one()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test tells
            failures.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_many_send_the_same_at_once(site: S3Site, release: Outgoing) -> None:
    assert at_once(*[functools.partial(publish, site, release)] * 4) == []
    assert site.seen(release) == site.expected(release)
    keys = [key for key, _ in site.writes() if not key.endswith("index.html")]
    assert len(keys) == len(set(keys)), "a file was written twice"


def test_many_versions_at_once_are_all_listed(site: S3Site, tmp_path: Path) -> None:
    versions = [f"1.{number}" for number in range(4)]
    releases = [making.release(tmp_path / one, one) for one in versions]
    assert at_once(*(functools.partial(publish, site, one) for one in releases)) == []
    assert sorted(re.findall('id="([^"]+)"', site.text("tinyapp/index.html"))) == versions


def test_a_page_that_somebody_else_writes_meanwhile(
    site: S3Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version is published whole after the page was read and before it is written."""
    first, second = (making.release(tmp_path / one, one) for one in ("1.0", "1.1"))
    publish(site, making.release(tmp_path / "0.9", "0.9"))
    slow, between = site.publisher(), iter([True])
    honest = Bucket.put

    def put(self: Bucket, one: Object, *rest: object, etag: str = "") -> bool:
        if self is slow._bucket and one.key.endswith("index.html") and next(between, False):
            publish(site, second)
        return honest(self, one, *rest, etag=etag)  # type: ignore[arg-type]

    monkeypatch.setattr(Bucket, "put", put)
    publishing.deliver("bucket", slow, first, SilentProgress())
    assert next(between, None) is None
    assert re.findall('id="([^"]+)"', site.text("tinyapp/index.html")) == ["1.1", "1.0", "0.9"]


def test_two_that_differ_at_once(site: S3Site, tmp_path: Path) -> None:
    """One is published as a whole, the other is refused."""
    releases = [making.release(tmp_path / one, content=one) for one in ("one", "two")]
    (failure,) = at_once(*(functools.partial(publish, site, one) for one in releases))
    assert isinstance(failure, VerificationError)
    (won,) = (one for one in releases if site.digest("tinyapp/1.0/SHA256SUMS") == one.digest)
    assert site.seen(won) == site.expected(won)


def test_other_bytes_where_somebody_has_begun(site: S3Site, tmp_path: Path) -> None:
    """Nothing is published yet, and yet nothing is written over it."""
    ours, theirs = (making.release(tmp_path / one, content=one) for one in ("ours", "theirs"))
    publisher = site.publisher()
    publisher.send(publisher.prepare(theirs)[0], theirs, lambda _: None)
    before = site.state()
    with pytest.raises(VerificationError, match="other bytes were sent there") as caught:
        site.publisher().prepare(ours)
    assert "complete it from where it was begun, or delete" in caught.value.problems[0].hint
    publisher = site.publisher()
    with pytest.raises(VerificationError):
        publisher.send(Parcel(name="SHA256SUMS", sha256=ours.digest, size=1, there=False), ours, lambda _: None)
    assert site.state() == before
    publish(site, theirs)
    with pytest.raises(VerificationError, match="published are other bytes"):
        site.publisher().prepare(ours)


def test_the_same_manifest_of_another_release(site: S3Site, small: Outgoing) -> None:
    """Only SHA256SUMS differs: who came first has the place."""
    publisher = site.publisher()
    publisher.send(publisher.prepare(small)[0], small, lambda _: None)
    other = Outgoing(folder=small.folder, manifest=small.manifest, files=small.files, digest=Digest("0" * 64))
    with pytest.raises(VerificationError) as caught:
        site.publisher().prepare(other)
    assert small.digest in str(caught.value)
    assert "0" * 64 in str(caught.value)


def test_bytes_of_another_program_are_fetched_and_compared(site: S3Site, small: Outgoing) -> None:
    """Copied without metadata: the same bytes are taken, others refused."""
    name = next(iter(small.files))
    site.put(f"tinyapp/1.0/{name}", (small.folder / name).read_bytes())
    assert {one.name for one in site.publisher().prepare(small) if one.there} == {name}
    site.put(f"tinyapp/1.0/{name}", b"other")
    with pytest.raises(VerificationError, match=files.sha256_bytes(b"other")):
        site.publisher().prepare(small)


def test_a_server_without_conditions(site: S3Site, small: Outgoing, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is published, nothing is written over what is there, and the user is told."""
    honest = Bucket._ask

    def deaf(self: Bucket, operation: str, **named: object) -> object:
        return honest(self, operation, **{one: value for one, value in named.items() if one != "IfNoneMatch"})

    monkeypatch.setattr(Bucket, "_ask", deaf)
    notes: list[str] = []
    monkeypatch.setattr(SilentProgress, "note", lambda _, message: notes.append(message))
    publish(site, small)
    publish(site, small)
    assert site.seen(small) == site.expected(small)
    (note,) = notes
    assert "ignores conditions" in note
    assert site.publisher().note("tinyapp", "1.0", "x.json", b"one").endswith("/tinyapp/1.0.promotions/x.json")
    assert site.publisher().note("tinyapp", "1.0", "x.json", b"two") == ""
    assert site.get("tinyapp/1.0.promotions/x.json") == b"one"
