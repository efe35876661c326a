"""What a bucket refuses, in words: credentials, permissions, certificates, servers that are none."""

from __future__ import annotations

import contextlib
import importlib.util
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx
import pytest
import trustme
from botocore.exceptions import ClientError

from buildonce.destinations import S3Destination
from buildonce.errors import MissingToolError, ReleaseError
from buildonce.publishers import Outgoing, S3Publisher
from buildonce.publishers.s3 import refusals
from buildonce.publishers.s3.bucket import Bucket
from buildonce.system.console import SilentProgress
from tests import buckets
from tests.faults import Fault
from tests.publishers.s3_sites import S3Site, publish
from tests.publishers.sites import means

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buildonce.signing import Key
    from tests.faults import Proxy


def refused(site: S3Site, release: Outgoing) -> str:
    """What a user reads who is refused before anything is sent: message, place and hint."""
    before = site.state()
    with pytest.raises(ReleaseError) as caught:
        site.publisher(attempts=1).prepare(release)
    assert site.state() == before
    (problem,) = caught.value.problems
    assert problem.where == f"{site.url}/{site.bucket}/team/stable"
    assert problem.hint
    assert buckets.SECRET not in f"{caught.value}{problem}{caught.value.__cause__}"
    return f"{problem.message}\n{problem.hint}"


def test_without_boto3(site: S3Site, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "boto3" else honest(name))
    with pytest.raises(MissingToolError) as caught:
        site.publisher()
    assert caught.value.exit_code == 5
    assert caught.value.problems[0].hint == "pip install 'buildonce[s3]'"


def test_without_credentials(site: S3Site, small: Outgoing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    said = refused(site, small)
    assert "there are no credentials for S3 on this machine" in said
    assert "AWS_PROFILE" in said


def test_a_profile_that_is_not_there(site: S3Site, small: Outgoing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "there is no such profile" in refused(site, small)


def test_a_bucket_that_is_not_there(site: S3Site, small: Outgoing, key: Key) -> None:
    gone = S3Site(key, bucket="not-there")
    with pytest.raises(ReleaseError, match="there is no such bucket: 404 NoSuchBucket") as caught:
        gone.publisher().prepare(small)
    assert "make it" in caught.value.problems[0].hint


@pytest.fixture
def guarded() -> Iterator[None]:
    """The server asks who everybody is."""
    httpx.post(f"{buckets.server().url}/moto-api/reset-auth", content=b"0")
    yield
    httpx.post(f"{buckets.server().url}/moto-api/reset-auth", content=b"inf")


def user(name: str, *allowed: str) -> tuple[str, str]:
    """The access key of a new user of the server."""
    client = buckets.server().client("iam")
    client.create_user(UserName=name)
    statement = [{"Effect": "Allow", "Action": [*allowed], "Resource": "*"}]
    document = str({"Version": "2012-10-17", "Statement": statement}).replace("'", '"')
    client.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=document)
    made = client.create_access_key(UserName=name)["AccessKey"]
    return made["AccessKeyId"], made["SecretAccessKey"]


def as_user(site: S3Site, release: Outgoing, access: str, secret: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    with pytest.raises(ReleaseError) as caught:
        site.publisher().prepare(release)
    (problem,) = caught.value.problems
    assert secret not in f"{problem}{caught.value.__cause__}"
    return f"{problem.message}\n{problem.hint}"


def test_credentials_that_are_wrong(
    site: S3Site, small: Outgoing, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    access, secret = user("wrong", "s3:*")
    request.getfixturevalue("guarded")
    assert "does not know this access key" in as_user(site, small, "AKIANOBODY", secret, monkeypatch)
    assert "the secret of this access key is wrong" in as_user(site, small, access, "no" * 20, monkeypatch)


def test_who_may_not_write_learns_it_before_the_first_byte(
    site: S3Site, small: Outgoing, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, stranger = user("reader", "s3:ListBucket", "s3:GetObject"), user("stranger", "iam:GetUser")
    before = site.state()
    request.getfixturevalue("guarded")
    for who in (reader, stranger):
        said = as_user(site, small, *who, monkeypatch)
        assert "this user may not: 403 AccessDenied" in said
        assert "s3:PutObject" in said
    httpx.post(f"{buckets.server().url}/moto-api/reset-auth", content=b"inf")
    assert site.state() == before


def test_a_refusal_tells_the_code_and_the_message_alone() -> None:
    said = {"Code": "InvalidAccessKeyId", "Message": "It does not exist.", "AWSAccessKeyId": "AKIAEXAMPLE"}
    with pytest.raises(ReleaseError) as caught, refusals.explained("s3://releases"):
        raise ClientError({"Error": said, "ResponseMetadata": {"HTTPStatusCode": 403}}, "PutObject")
    assert str(caught.value) == "the server does not know this access key: 403 InvalidAccessKeyId It does not exist."


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (301, "sends elsewhere"),
        (308, "sends elsewhere"),
        (403, "this user may not"),
        (500, "says no"),
        (503, "says no"),
        (501, "cannot do"),
    ],
)
def test_what_a_server_may_say(status: int, message: str, behind: S3Site, proxy: Proxy, small: Outgoing) -> None:
    proxy.reset(Fault(kind="status", status=status))
    said = refused(behind, small)
    assert message in said
    assert str(status) in said


def test_an_answer_that_is_none_of_s3(
    behind: S3Site, proxy: Proxy, small: Outgoing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the page of a login to the network."""
    proxy.reset(Fault(kind="status", status=200))
    assert "the server says no: 500" in refused(behind, small)  # what botocore makes of it
    proxy.reset()
    monkeypatch.setattr(Bucket, "_ask", lambda *_, **__: {})
    assert "none of S3" in refused(behind, small)


def test_who_may_not_list_uploads_is_told(
    behind: S3Site, proxy: Proxy, small: Outgoing, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.reset(Fault(kind="status", status=403, only=f"GET /{behind.bucket}?uploads"))
    notes: list[str] = []
    monkeypatch.setattr(SilentProgress, "note", lambda _, message: notes.append(message))
    publish(behind, small)
    assert "may not list unfinished uploads" in notes[0]
    assert behind.seen(small) == behind.expected(small)


def test_nobody_answers(key: Key, small: Outgoing) -> None:
    site = S3Site(key, url="http://127.0.0.1:9")
    assert "the server cannot be reached" in refused(site, small)


def test_certificates(site: S3Site, small: Outgoing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody vouches for, one that is over, and one of the organisation's own."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "bundle.pem")
    over = datetime(2020, 1, 1, tzinfo=UTC)
    with _tls(authority.issue_cert("127.0.0.1")) as url:
        here = S3Site(site.key, url=url, bucket=site.bucket)
        said = refused(here, small)
        assert "the server's certificate is not trusted" in said
        assert "SSL_CERT_FILE" in said
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "bundle.pem"))
        publish(here, small)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "bundle.pem"))
        monkeypatch.delenv("SSL_CERT_FILE")
        publish(here, small)
    with _tls(authority.issue_cert("127.0.0.1", not_after=over)) as url:
        assert "expired" in refused(S3Site(site.key, url=url, bucket=site.bucket), small)


@contextlib.contextmanager
def _tls(certificate: trustme.LeafCert) -> Iterator[str]:
    """The server, by TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with buckets.serving(context) as url:
        yield url


def test_what_a_destination_is_called(key: Key) -> None:
    def place(**table: str) -> str:
        destination = S3Destination.model_validate({"type": "s3", "bucket": "releases", **table})
        return S3Publisher(destination, means(key)).place

    assert place() == "s3://releases"
    assert place(prefix="team/stable") == "s3://releases/team/stable"
    assert place(endpoint="https://minio.example.org/", prefix="a") == "https://minio.example.org/releases/a"
