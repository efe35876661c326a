"""A bucket behind a network that fails: nothing half seen, nothing written twice, no parts left; and stopping."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from buildonce import publishing
from buildonce.errors import ReleaseError
from buildonce.publishers.s3 import bucket as buckets_of_ours
from buildonce.publishers.s3.bucket import Object
from buildonce.system import files
from buildonce.system.console import SilentProgress
from buildonce.system.net import Interrupted
from tests import faults
from tests.faults import Fault
from tests.publishers.s3_sites import S3Site, bucket_of, publish

if TYPE_CHECKING:
    from pathlib import Path

    from buildonce.publishers import Outgoing
    from tests.conftest import Told
    from tests.faults import Kind, Proxy

PART = 5 << 20  # the least that servers take
BIG = PART + (1 << 18)  # sent in two parts


@pytest.fixture
def big(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Object:
    """A file that is sent in parts."""
    monkeypatch.setattr(buckets_of_ours, "_PART", PART)
    path = tmp_path / "big.bin"
    path.write_bytes(b"0123456789abcdef" * (BIG // 16))
    return Object(
        key="team/stable/big.bin", source=path, sha256=files.sha256_file(path), content_type="x/y", cache="no-cache"
    )


def survives(site: S3Site, proxy: Proxy, release: Outgoing, fault: Fault, prefix: str) -> None:
    """Publish with *fault*: nothing may be half seen then, and the same line again has to complete it."""
    here = S3Site(site.key, url=site.url, bucket=site.bucket, prefix=prefix)
    proxy.reset(fault)
    with contextlib.suppress(ReleaseError):
        publish(here, release, attempts=1 if fault.times is None else 2)
    assert proxy.faults, f"nothing went wrong at {fault}"
    assert here.seen(release) in ({}, here.expected(release)), f"after {fault}"
    proxy.reset()
    publish(here, release)
    assert here.seen(release) == here.expected(release), f"after {fault} and once more"
    assert here.unfinished() == []
    keys = [key for key, _ in here.writes() if not key.endswith("index.html")]
    assert len(keys) == len(set(keys)), "a file was written twice"


def faults_of(number: int, kinds: tuple[Kind, ...]) -> list[Fault]:
    """At this request: of every kind, once and for good."""
    return [Fault(kind=kind, first=number, times=times) for kind in kinds for times in (1, None)]


def every_request(behind: S3Site, proxy: Proxy, release: Outgoing, kinds: tuple[Kind, ...], *, step: int = 1) -> int:
    """All of :func:`faults_of` each request, or with *step* each so many-th of them in turn; answers how many."""
    publish(behind, release)
    chosen = [one for number in range(1, len(proxy.exchanges) + 1) for one in faults_of(number, kinds)][::step]
    for fault in chosen:
        survives(behind, proxy, release, fault, f"{fault.kind}/{fault.first}-{fault.times}")
    return len(chosen)


def test_a_fault_at_every_request(behind: S3Site, proxy: Proxy, small: Outgoing, told: Told) -> None:
    """One at each: its kind changes from one to the next, and whether it stays."""
    count = every_request(behind, proxy, small, faults.KINDS, step=2 * len(faults.KINDS) - 1)
    told("s3: one of each kind in turn", count)
    assert count > 20


@pytest.mark.integration
@pytest.mark.parametrize("kind", faults.KINDS)
def test_every_fault_at_every_request(
    kind: Kind,
    behind: S3Site,
    proxy: Proxy,
    small: Outgoing,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    told: Told,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    count = every_request(behind, proxy, small, (kind,))
    told(f"s3: {kind}", count)
    assert count > 40


def test_a_fault_at_every_request_for_a_big_file(behind: S3Site, proxy: Proxy, big: Object, told: Told) -> None:
    """No parts stay, but those of which the server told nobody, or could not be told to forget them."""
    bucket = bucket_of(behind, attempts=1)
    assert bucket.put(big)
    assert [one.method for one in proxy.exchanges] == ["POST", "PUT", "PUT", "POST"]
    count = 0
    for number in range(1, 5):
        for kind in faults.KINDS:
            behind.delete("big.bin")
            proxy.reset(Fault(kind=kind, first=number, times=1, status=503))
            with contextlib.suppress(Exception):
                bucket_of(behind, attempts=1).put(big)
            assert proxy.faults == 1
            known = not (number == 1 and kind in ("unanswered", "truncated"))
            assert not (known and behind.unfinished())
            bucket_of(behind).put(big)
            assert behind.digest("big.bin") == big.sha256
            assert bucket.give_up("team/stable/")
            assert behind.unfinished() == []
            count += 1
    told("s3: while a file was sent in parts", count)


def test_a_big_file_that_is_there_is_not_replaced(site: S3Site, big: Object) -> None:
    site.put("big.bin", b"other")
    assert not bucket_of(site).put(big)
    assert site.get("big.bin") == b"other"
    assert site.unfinished() == []


def test_the_sha256_of_a_big_file(site: S3Site, big: Object) -> None:
    bucket = bucket_of(site)
    came: list[int] = []
    assert bucket.put(big, came.append)
    found = bucket.find(big.key)
    assert found
    assert found.sha256 == bucket.fetched(big.key) == big.sha256
    assert came == sorted(came)
    assert came[-1] == BIG
    assert len(came) > BIG >> 18


@pytest.mark.parametrize(
    ("said", "methods"),
    [
        ({"ChecksumAlgorithm": "SHA256"}, ["HEAD"]),
        ({"Metadata": {"sha256": files.sha256_bytes(b"x")}}, ["HEAD"]),
        ({}, ["HEAD", "GET"]),
    ],
)
def test_how_the_sha256_is_known(said: dict[str, object], methods: list[str], behind: S3Site, proxy: Proxy) -> None:
    behind.client.put_object(Bucket=behind.bucket, Key="x", Body=b"x", **said)
    found = bucket_of(behind).find("x")
    assert found
    assert found.sha256 == files.sha256_bytes(b"x")
    assert [one.method for one in proxy.exchanges] == methods


def test_a_checksum_of_checksums_is_not_the_sha256(site: S3Site) -> None:
    """What servers keep of a file that another program sent in parts."""
    where = {"Bucket": site.bucket, "Key": "x"}
    upload = {**where, "UploadId": site.client.create_multipart_upload(**where, ChecksumAlgorithm="SHA256")["UploadId"]}
    sent = site.client.upload_part(**upload, PartNumber=1, Body=b"x", ChecksumAlgorithm="SHA256")
    part = {"PartNumber": 1, "ETag": sent["ETag"], "ChecksumSHA256": sent["ChecksumSHA256"]}
    site.client.complete_multipart_upload(**upload, MultipartUpload={"Parts": [part]})
    found = bucket_of(site).find("x")
    assert found
    assert found.sha256 == files.sha256_bytes(b"x")


def test_a_file_goes_on_where_the_connection_broke(behind: S3Site, proxy: Proxy, big: Object) -> None:
    bucket_of(behind).put(big)
    proxy.reset(Fault(kind="truncated", first=1, times=1))
    assert bucket_of(behind).fetched(big.key) == big.sha256
    assert [one.status for one in proxy.exchanges] == [200, 206]
    assert proxy.sent < BIG * 1.1


def test_what_a_killed_process_left_of_a_big_file(site: S3Site, small: Outgoing) -> None:
    """The parts are removed when the version is complete; those of other versions are not touched."""
    for version in ("1.0", "1.0.1"):
        site.client.create_multipart_upload(Bucket=site.bucket, Key=f"team/stable/tinyapp/{version}/x.deb")
    publish(site, small)
    assert site.unfinished() == ["team/stable/tinyapp/1.0.1/x.deb"]


def test_stop_ends_what_is_being_sent(behind: S3Site, proxy: Proxy, big: Object) -> None:
    bucket = bucket_of(behind)
    with pytest.raises(Interrupted):
        bucket.put(big, lambda _: bucket.stop())
    assert proxy.received < BIG / 2
    assert behind.unfinished() == []
    assert behind.names() == []
    with pytest.raises(Interrupted):
        bucket.put(big)


def test_ctrl_c_while_files_are_sent(site: S3Site, release: Outgoing, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run has all that it needs to complete it."""

    class Impatient(SilentProgress):
        def advance(self, detail: str, done: int, total: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publishing.deliver("bucket", site.publisher(), release, Impatient())
    assert site.seen(release) == {}
    publish(site, release)
    assert site.seen(release) == site.expected(release)


def test_parts_are_as_small_as_they_may_be() -> None:
    assert buckets_of_ours._PART >= PART  # "Multipart upload limits" of Amazon S3
    assert buckets_of_ours._MOST_PARTS <= 10_000
