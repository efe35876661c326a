"""The connection to a bucket, by boto3: it finds the user's credentials, and signs every request with them."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Final

from buildonce.errors import MissingToolError
from buildonce.publishers.s3.sending import sending_begins
from buildonce.system import certificates
from buildonce.system.net import shown

if TYPE_CHECKING:
    from buildonce.destinations import S3Destination

__all__ = ["connect", "place", "require_boto3"]

_CONNECT_SECONDS: Final = 15
_SILENT_SECONDS: Final = 60
_CONNECTIONS: Final = 16
_REGION: Final = "us-east-1"  # what servers that know no regions call theirs


def require_boto3(where: str) -> None:
    """Raise :class:`MissingToolError` when boto3 is not installed: it is an extra."""
    if importlib.util.find_spec("boto3") is None:
        raise MissingToolError(
            "publishing to S3 needs the Python package boto3", where=where, hint="pip install 'buildonce[s3]'"
        )


def place(destination: S3Destination) -> str:
    """How a person calls it: ``s3://bucket/prefix``, or the address when it is not Amazon's."""
    start = f"{shown(destination.endpoint).rstrip('/')}/" if destination.endpoint else "s3://"
    return start + "/".join(part for part in (destination.bucket, destination.prefix) if part)


def connect(destination: S3Destination, attempts: int) -> Any:
    """A client (boto3 has no types) that asks a server that is busy or gone so many times.

    Raises what :func:`buildonce.publishers.s3.refusals.explained` explains.
    """
    import boto3
    from botocore.config import Config

    session = boto3.session.Session()
    settings = Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_SILENT_SECONDS,
        max_pool_connections=_CONNECTIONS,
        # Servers other than Amazon's know no trailing checksums. The sha256 of each body is signed: all check that.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"payload_signing_enabled": True, "addressing_style": "path" if destination.endpoint else "auto"},
        user_agent_extra="buildonce",
    )
    client = session.client(
        "s3",
        region_name=destination.region or session.region_name or _REGION,
        endpoint_url=destination.endpoint,
        verify=_certificates(session),
        config=settings,
    )
    client.meta.events.register("before-send.s3", sending_begins)
    if destination.endpoint:
        client.meta.events.register("before-call.s3", _stay)
    return client


def _stay(context: Any, **_: object) -> None:
    """Have botocore tell of a redirection: it takes each for one to another region of Amazon, and never ends."""
    context.get("s3_redirect", {})["redirected"] = True


def _certificates(session: Any) -> str | None:
    """The bundle of this machine; None when the user's AWS configuration (``AWS_CA_BUNDLE``) names another one."""
    named = session._session.get_config_variable("ca_bundle")  # noqa: SLF001 - boto3 has no other way to it
    return None if named else certificates.place() or None
