"""Requests to one repository with the credentials that its registry asks for.

A registry answers 401 and says how to come back (RFC 9110, 11.6.1): with user and password (``Basic``), or with a
token that another server gives for these (``Bearer``; the protocol is Docker's, distribution: "Token Authentication
Specification"). The answer is kept and used until the next 401.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit

from buildonce.errors import ReleaseError
from buildonce.registry import credentials
from buildonce.system.net import RefusedError, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from buildonce.registry.credentials import Credentials
    from buildonce.registry.repository import Repository
    from buildonce.system.net import Answer, Net

__all__ = ["Session", "refusal"]

_UNAUTHORIZED, _FORBIDDEN = 401, 403
_PARAMETER: Final = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,"]+))')
_CLIENT: Final = "buildonce"
_CHALLENGES: Final = 3  # another thread may have changed the token, for one that allows it what it needs and no more


class Session:
    """What is known of a registry while one command runs. Safe to use from several threads."""

    def __init__(self, repository: Repository, net: Net) -> None:
        self._repository, self._net = repository, net
        self._origin = urlsplit(repository.url(""))[:2]
        self._guard = threading.Lock()
        self._authorization = ""
        self._known: list[Credentials | None] = []

    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Iterator[bytes]] | bytes = b"",
        again: bool = True,
    ) -> Answer:
        """One request, repeated when the registry wants to know who asks. Raises as :meth:`Net.ask` does."""
        for _ in range(_CHALLENGES):
            used = self._authorization
            answer = self._once(method, url, headers, body, again=again)
            if answer.status != _UNAUTHORIZED:
                return answer
            if not self.answer(answer.headers.get("www-authenticate", ""), used):
                return answer
        return self._once(method, url, headers, body, again=again)

    def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        body: Callable[[], Iterator[bytes]] | bytes,
        *,
        again: bool,
    ) -> Answer:
        return self._net.ask(method, url, headers={**(headers or {}), **self.headers(url)}, body=body, again=again)

    def headers(self, url: str) -> dict[str, str]:
        """The credentials, for addresses of the registry itself: uploads and blobs may lie elsewhere."""
        if self._authorization and urlsplit(url)[:2] == self._origin:
            return {"Authorization": self._authorization}
        return {}

    @property
    def authorization(self) -> str:
        """What is sent with requests now; compare with :meth:`answer`."""
        return self._authorization

    def answer(self, challenge: str, used: str) -> bool:
        """Find what *challenge* (of a 401) asks for; False when we have nothing better than what was *used*."""
        with self._guard:
            if self._authorization != used:
                return True
            kind, _, rest = challenge.partition(" ")
            asked = {name.lower(): plain or quoted for name, quoted, plain in _PARAMETER.findall(rest)}
            if kind.lower() == "basic" and not used:
                self._authorization = _basic(self._credentials())
            elif kind.lower() == "bearer" and "realm" in asked:
                self._authorization = self._token(asked)
            else:
                return False
            return bool(self._authorization) and self._authorization != used

    def _credentials(self) -> Credentials | None:
        if not self._known:
            self._known.append(credentials.find(self._repository))
        return self._known[0]

    def _token(self, asked: Mapping[str, str]) -> str:
        realm, known = asked["realm"], self._credentials()
        if urlsplit(realm).scheme != "https" and not self._repository.plain:
            raise ReleaseError(f"{self._repository.host} asks to send credentials without TLS", where=shown(realm))
        # The challenge names what the request needs; who may only read would be refused a token for more.
        scope = asked.get("scope") or f"repository:{self._repository.name}:pull"
        fields = {"service": asked.get("service", ""), "scope": scope}
        if known and known.identity_token:
            form = {
                **fields,
                "grant_type": "refresh_token",
                "client_id": _CLIENT,
                "refresh_token": known.identity_token,
            }
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self._net.ask("POST", realm, headers=kind, body=urlencode(form).encode())
        else:
            joined = f"{realm}{'&' if '?' in realm else '?'}{urlencode(fields)}"
            basic = _basic(known)
            answer = self._net.ask("GET", joined, headers={"Authorization": basic} if basic else {})
        if answer.status in (_UNAUTHORIZED, _FORBIDDEN):
            return ""
        try:
            document = json.loads(answer.body)
            return f"Bearer {document.get('token') or document['access_token']}"
        except (ValueError, KeyError, AttributeError) as error:
            raise ReleaseError(
                f"the server that gives tokens for {self._repository.host} says {answer.status} and no token",
                where=shown(realm),
            ) from error


def _basic(known: Credentials | None) -> str:
    if known is None or not known.password:
        return ""
    return f"Basic {base64.b64encode(f'{known.user}:{known.password}'.encode()).decode()}"


def refusal(answer: Answer, repository: Repository, what: str) -> RefusedError:
    """The error for an *answer* that is none of those expected; *what* was to be done."""
    try:
        errors = [f"{one.get('code', '')}: {one.get('message', '')}" for one in json.loads(answer.body)["errors"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        errors = []
    denied = answer.status in (_UNAUTHORIZED, _FORBIDDEN)
    return RefusedError(
        f"{what}: the registry says {answer.status}{f' ({errors[0][:200]})' if errors else ''}",
        status=answer.status,
        where=str(repository),
        hint=f"docker login {repository.host}" if denied else "",
    )
