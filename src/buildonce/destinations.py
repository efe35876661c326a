"""What ``[tool.release.publish.<name>]`` may say: where a release is published to, one table a destination.

Credentials are never part of it: each protocol has its usual place for them, see ``docs/reference/publishers``.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, StrictInt

from buildonce.tables import Matching, Table

__all__ = [
    "AptDestination",
    "Destination",
    "FolderDestination",
    "IndexDestination",
    "RegistryDestination",
    "S3Destination",
]

_PATH: Final = r"(?![A-Za-z0-9+.-]+://)[^\x00-\x1f\x7f]+"
_WEB: Final = r"https?://[^\s@]+"
_WORD: Final = r"[a-z0-9][a-z0-9.+-]*"

_Path = Annotated[str, Matching(_PATH, "a path, absolute or below the project")]
_Web = Annotated[str, Matching(_WEB, "an address, https://host/path, without credentials")]
_Image = Annotated[
    str,
    Matching(r"oci(?:\+http)?://[^\s@:/]+(?::\d+)?/[^\s@:]+", "written as oci://host/team/name, without tag and user"),
]
_Component = Annotated[str, Matching(_WORD, "a word of small letters, digits, dots and hyphens")]
_Suite = Annotated[
    str,
    Matching(
        r"(?:[a-z0-9]|\{codename\})(?:[a-z0-9.+-]|\{codename\})*",
        "a word of small letters, digits, dots and hyphens, in which {codename} may stand for the Debian release",
    ),
]
_Bucket = Annotated[
    str,
    Matching(
        r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "the name of a bucket: 3 to 63 small letters, digits, dots and hyphens"
    ),
]
_Prefix = Annotated[
    str,
    Matching(
        r"|(?!\.{1,2}(?:/|$))[A-Za-z0-9._+@=-]+(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._+@=-]+)*",
        "a path in the bucket, such as team/stable, without a slash at its ends",
    ),
]
_Region = Annotated[str, Matching(r"[A-Za-z0-9-]+", "the name of a region, such as eu-central-1")]
_Origin = Annotated[str, Matching(r"[^\x00-\x1f\x7f,]*", "a text on one line, without commas")]


class FolderDestination(Table):
    """A folder, on this disk or a mounted one, that people and web servers read."""

    type: Literal["folder"]
    """`folder`."""
    path: _Path
    """The folder; it has to be there, because it may be a mount that is missing."""


class IndexDestination(Table):
    """A package index: devpi, or any that takes the uploads of twine."""

    type: Literal["devpi", "index"]
    """`devpi`, or `index` for any other one."""
    url: _Web
    """The address that uploads go to: for devpi that of an index, `https://host/user/index/`."""
    simple: _Web | None = None
    """The address that pip reads (PEP 503, PEP 691); for devpi `+simple/` below the index."""
    wheelhouse: bool = False
    """Publish the locked dependencies too, so that whoever installs needs no other index."""


class AptDestination(Table):
    """A signed, static apt repository in a folder."""

    type: Literal["apt"]
    """`apt`."""
    path: _Path
    """The repository's folder; it has to be there."""
    suite: _Suite = "{codename}"
    """Where new debs appear. `{codename}` stands for their Debian release, as in `{codename}-staging`; without it the
    suite takes debs of one Debian release alone."""
    component: _Component = "main"
    """The component of the suite."""
    origin: _Origin = ""
    """Origin and Label in Release files, for pins; the release's name when not given."""
    valid_days: Annotated[StrictInt, Field(ge=1, le=3650)] = 30
    """After so many days hosts refuse the repository (Valid-Until) unless it was signed again."""
    url: _Web | None = None
    """The address at which hosts see the folder, for the `.sources` file; the folder itself when not given."""
    key: _Path | None = None
    """The key that signs this repository; the project's own when not given."""


class RegistryDestination(Table):
    """A container registry."""

    type: Literal["registry"]
    """`registry`."""
    image: _Image
    """The repository of the image: `oci://host/team/name`."""
    mount: tuple[_Image, ...] = ()
    """Repositories of the same registry that may have some of its layers, which are then not sent again."""


class S3Destination(Table):
    """A bucket of Amazon S3, or of another server that speaks its protocol."""

    type: Literal["s3"]
    """`s3`."""
    bucket: _Bucket
    """The bucket; it has to be there."""
    prefix: _Prefix = ""
    """The path in the bucket below which releases are published."""
    endpoint: _Web | None = None
    """The address of a server that is not Amazon's: MinIO, Ceph and others."""
    region: _Region | None = None
    """The region of the bucket; that of the user's AWS configuration when not given."""


Destination = Annotated[
    FolderDestination | IndexDestination | AptDestination | RegistryDestination | S3Destination,
    Field(discriminator="type"),
]
