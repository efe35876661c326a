"""What S3 and boto3 say no with, in words: what happened, where, and the next step.

Codes: "Error responses" of the Amazon S3 API Reference; MinIO and Ceph use the same.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from buildonce.errors import ReleaseError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["code", "explained", "status"]

_LOGIN: Final = (
    "name a profile with AWS_PROFILE, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`"
)
_PERMISSIONS: Final = (
    "it takes s3:ListBucket, s3:ListBucketMultipartUploads, s3:GetObject, s3:PutObject and s3:AbortMultipartUpload"
)
_REGION: Final = "name the bucket's region: region = … in its table"
_ELSEWHERE: Final = ("the server sends elsewhere", f"look at the endpoint, http or https, or {_REGION}")
_RENEW: Final = "renew the login, such as with `aws sso login`"
_FULL: Final = "free some space there and run the same line again"
_AGAIN: Final = "run the same line again: what is there is not sent again"
_CONDITIONS: Final = "conditional writes (If-None-Match) are needed: ask whoever runs the server for a newer one"

_SAID: Final = {
    "InvalidAccessKeyId": ("the server does not know this access key", _LOGIN),
    "SignatureDoesNotMatch": ("the secret of this access key is wrong", _LOGIN),
    "ExpiredToken": ("the login is over", _RENEW),
    "InvalidToken": ("the session token is not one that the server gave", _RENEW),
    "AccessDenied": ("this user may not", _PERMISSIONS),
    "AllAccessDisabled": ("this user may not", _PERMISSIONS),
    "NoSuchBucket": ("there is no such bucket", "make it, or correct bucket and endpoint in its table"),
    "PermanentRedirect": ("the bucket is in another region", _REGION),
    "AuthorizationHeaderMalformed": ("the bucket is in another region", _REGION),
    "IllegalLocationConstraintException": ("the bucket is in another region", _REGION),
    "RequestTimeTooSkewed": ("the clocks of this machine and of the server differ", "set this machine's clock"),
    "QuotaExceeded": ("the destination is full", _FULL),
    "XMinioStorageFull": ("the destination is full", _FULL),
    "XMinioAdminBucketQuotaExceeded": ("the destination is full", _FULL),
    "NotImplemented": ("the server cannot do what is needed", _CONDITIONS),
}
_STATUS: Final = {
    "301": _ELSEWHERE,
    "302": _ELSEWHERE,
    "307": _ELSEWHERE,
    "308": _ELSEWHERE,
    "401": ("this user may not", _LOGIN),
    "403": _SAID["AccessDenied"],
    "501": _SAID["NotImplemented"],
}
# By the names of botocore's classes, so that they need not be imported here.
_BROKEN: Final = {
    "NoCredentialsError": ("there are no credentials for S3 on this machine", _LOGIN),
    "PartialCredentialsError": ("the credentials for S3 are not whole", _LOGIN),
    "CredentialRetrievalError": ("the credentials for S3 cannot be had", _LOGIN),
    "ProfileNotFound": ("there is no such profile", "look at AWS_PROFILE, and into ~/.aws/config"),
    "SSOTokenLoadError": ("the login is over", _RENEW),
    "UnauthorizedSSOTokenError": ("the login is over", _RENEW),
    "TokenRetrievalError": ("the login is over", _RENEW),
    "SSLError": (
        "the server's certificate is not trusted",
        "name your organisation's certificates: SSL_CERT_FILE=/path/to/bundle.pem",
    ),
    "EndpointConnectionError": ("the server cannot be reached", "look at the endpoint, the network and the proxy"),
    "ConnectTimeoutError": ("the server cannot be reached", "look at the endpoint, the network and the proxy"),
    "ProxyConnectionError": ("the proxy cannot be reached", "look at HTTPS_PROXY and NO_PROXY"),
}


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Raise what S3 refuses and what boto3 fails with as :class:`ReleaseError` about *place*."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        raise _refusal(error.response, place) from error
    except BotoCoreError as error:
        message, hint = _BROKEN.get(type(error).__name__, ("the connection to S3 failed", _AGAIN))
        raise ReleaseError(f"{message}: {_line(error)}", where=place, hint=hint) from error
    except ResponseParserError as error:
        raise ReleaseError(
            "the server's answer is none of S3", where=place, hint=f"look at the endpoint, then {_AGAIN}"
        ) from error


def code(error: Any) -> str:
    """The code in a ClientError: ``NoSuchKey``; the status when the answer had no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status(error: Any) -> int:
    """The HTTP status of a ClientError."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _refusal(response: Any, place: str) -> ReleaseError:
    """Of all that the answer says only code and message are told: the rest can name the access key."""
    said = response.get("Error", {})
    name, number = str(said.get("Code", "")), str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    message, hint = _SAID.get(name) or _STATUS.get(number) or ("the server says no", _AGAIN)
    told = " ".join(dict.fromkeys(one for one in (number, name, str(said.get("Message", ""))) if one))
    return ReleaseError(f"{message}: {_line(told)}", where=place, hint=hint)


def _line(text: object) -> str:
    return " ".join(str(text).split())[:300]
