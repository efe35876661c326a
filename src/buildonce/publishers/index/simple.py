"""What pip and uv see of a project: the simple repository API, as JSON (PEP 691) or as a page (PEP 503)."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion

from buildonce.errors import ReleaseError
from buildonce.model import Digest
from buildonce.publishers.index.web import NOT_FOUND, done
from buildonce.system.net import shown

if TYPE_CHECKING:
    from packaging.version import Version

    from buildonce.publishers.index.web import Web

__all__ = ["Held", "held", "version_of"]

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A file of an index. ``sha256`` is what the index says; None when it says none."""

    url: str
    sha256: Digest | None


def held(web: Web, simple: str, project: str) -> dict[str, Held]:
    """File name → what the index at *simple* has of *project*, of all versions; nothing when it knows no such name.

    Raises :class:`ReleaseError` when there is no answer, or one that is not of this API.
    """
    from mousebender import simple as api

    url = f"{simple.rstrip('/')}/{canonicalize_name(project)}/"
    answer = web.ask("GET", url, headers={"Accept": api.ACCEPT_SUPPORTED})
    # An index may send whoever asks for what it has not to another one (pypiserver does): that has it, not this one.
    if answer.status == NOT_FOUND or urlsplit(answer.url).hostname != urlsplit(url).hostname:
        return {}
    if not done(answer):
        raise web.refusal(answer, url)
    kind = answer.headers.get("content-type", "").partition(";")[0].strip()
    try:
        with warnings.catch_warnings():  # of newer pages, which have all that is read here
            warnings.simplefilter("ignore")
            files = api.parse_project_details(answer.body.decode(), kind, project)["files"]
            return {one["filename"]: _held(urljoin(url, one["url"]), one["hashes"]) for one in files}
    except (ValueError, KeyError, TypeError, AttributeError, api.UnsupportedMIMEType) as error:
        raise ReleaseError(
            "the answer is not that of a package index",
            where=shown(url),
            hint='the key "simple" of the destination names the address that pip reads',
        ) from error


def _held(url: str, hashes: dict[str, str]) -> Held:
    found = hashes.get("sha256", "").lower()
    return Held(url=url, sha256=Digest(found) if _SHA256.fullmatch(found) else None)


def version_of(filename: str) -> Version | None:
    """The version that a wheel or sdist is of; None for a file that is neither."""
    try:
        return parse_wheel_filename(filename)[1] if filename.endswith(".whl") else parse_sdist_filename(filename)[1]
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None
