"""What devpi has beyond an index for pip: files with their log, indexes made in one request, and push, which moves
a version from one index to another within one transaction (doc.devpi.net/latest/userman/devpi_indices.html).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urljoin, urlsplit

from buildonce.errors import ConfigurationError, ReleaseError
from buildonce.model import Digest
from buildonce.publishers.index.simple import Held
from buildonce.publishers.index.web import NOT_FOUND, done, require_json

if TYPE_CHECKING:
    from buildonce.publishers.index.web import Web

__all__ = ["Devpi"]

_RELS: Final = ("releasefile", "doczip")
_SHA256: Final = "sha256="
_MADE: Final = (200, 201)
_PARTS: Final = 2  # an index is called user/index


class Devpi:
    """One index. Every method raises :class:`ReleaseError` when the server fails or says no."""

    def __init__(self, web: Web, root: str, path: str) -> None:
        self._web, self.root, self.path = web, root, path

    @classmethod
    def at(cls, web: Web) -> Devpi:
        """The index that *web*'s address names, ``https://host/user/index/``, maybe below a path."""
        base, *parts = web.url.rstrip("/").rsplit("/", _PARTS)
        if len(parts) < _PARTS or not urlsplit(base).netloc:
            raise ConfigurationError(
                f"{web.url} is not the address of an index",
                where=f"[tool.release.publish.{web.name}] url",
                hint="https://host/user/index/",
            )
        web.tokens = f"{base}/+login"
        return cls(web, f"{base}/", "/".join(parts))

    @property
    def url(self) -> str:
        """Where uploads go."""
        return f"{self.root}{self.path}/"

    def beside(self, path: str) -> Devpi:
        """Another index of the same server."""
        return Devpi(self._web, self.root, path)

    def require(self) -> None:
        """Raise :class:`ReleaseError` unless it is an index that takes files."""
        settings = self.settings()
        if settings is None:
            raise ReleaseError(
                "there is no such index",
                where=self.url,
                hint=f"its owner makes it: devpi index -c {self.path} bases= volatile=False",
            )
        if settings.get("type") != "stage":
            raise ReleaseError(f"this index takes no files: its type is {settings.get('type')}", where=self.url)

    def settings(self) -> dict[str, Any] | None:
        """How the index is made; None when there is none."""
        url = f"{self.root}{self.path}?no_projects="
        status, value = self._web.json("GET", url)
        if status == NOT_FOUND:
            return None
        found = require_json(value, url)
        return found if isinstance(found, dict) else {}

    def user(self) -> str:
        """Who this user is to the server; "" for nobody."""
        url = f"{self.url}+api"
        found = require_json(self._web.json("GET", url)[1], url)
        status: list[Any] = (found.get("authstatus") if isinstance(found, dict) else None) or []
        said, user, *_ = [*status, "", ""]
        return str(user) if said == "ok" else ""

    def held(self, project: str, version: str) -> dict[str, Held]:
        """File name → what the index itself has of a version; what it inherits from its bases is not among it."""
        url = f"{self.root}{self.path}/{quote(project)}/{quote(version)}"
        status, value = self._web.json("GET", url)
        if status == NOT_FOUND:
            return {}
        found = require_json(value, url)
        ours = urlsplit(self.url).path
        return {
            href.rpartition("/")[2]: Held(url=href, sha256=_sha256(link))
            for link in found.get("+links", ())
            if link.get("rel") in _RELS and urlsplit(href := urljoin(url, link["href"])).path.startswith(ours)
        }

    def create(self) -> bool:
        """Make the index, visible to who looks for it, without bases; False when this user may not."""
        url = f"{self.root}{self.path}"
        settings = {"type": "stage", "bases": [], "volatile": True}
        try:
            status, _ = self._web.json("PUT", url, settings)
        except ReleaseError:
            if self.settings() is None:
                return False
            raise
        return 200 <= status < 300 or self.settings() is not None

    def delete(self) -> None:
        """Remove the index, if it is there."""
        if self.settings() is not None:
            url = f"{self.root}{self.path}"
            answer = self._web.ask("DELETE", url, headers={"Accept": "application/json"})
            if not done(answer) and self.settings() is not None:  # nobody else was faster: devpi calls that forbidden
                raise self._web.refusal(answer, url)

    def push(self, project: str, version: str, to: Devpi) -> ReleaseError | None:
        """Copy all of a version to another index, at once; answers why that was refused.

        Only for a version of which *to* has no file: devpi keeps what it stored before a refusal.
        """
        body = json.dumps({"name": project, "version": version, "targetindex": to.path}).encode()
        answer = self._web.ask(
            "POST",
            f"{self.root}{self.path}",
            headers={"Accept": "application/json", "Content-Type": "application/json"},
            body=body,
        )
        return None if done(answer) else self._web.refusal(answer, to.url)


def _sha256(link: dict[str, Any]) -> Digest | None:
    found = link.get("hashes", {}).get("sha256") or str(link.get("hash_spec", ""))
    return Digest(found.removeprefix(_SHA256)) if "=" not in found or found.startswith(_SHA256) else None
