"""Requests to one index: with its login, to its own host only; and what its refusals mean."""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from buildonce.errors import ReleaseError
from buildonce.publishers.index import login
from buildonce.system.net import RefusedError, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from buildonce.system.net import Answer, Net

__all__ = ["DENIED", "NOT_FOUND", "Web", "done"]

DENIED: Final = (401, 403)
NOT_FOUND: Final = 404
_OK: Final = 200
_REDIRECTED: Final = 300
_MOST_SAID: Final = 200


def done(answer: Answer) -> bool:
    """Whether the server did what it was asked."""
    return _OK <= answer.status < _REDIRECTED


class Web:
    """The server of the destination *name*, which uploads reach at *url*. Safe to use from several threads.

    ``tokens`` is the address at which a password is exchanged for a token, if there is one: devpi takes a third of a
    second to check a password, with every request.
    """

    def __init__(self, name: str, url: str, net: Net) -> None:
        self.name, self.url, self.net = name, url, net
        self.tokens = ""
        self._finding = threading.Lock()
        self._login: tuple[login.Login | None] | None = None
        self._secrets: set[str] = set()

    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Iterator[bytes]] | bytes = b"",
    ) -> Answer:
        """See :meth:`buildonce.system.net.Net.ask`."""
        return self.net.ask(method, url, headers={**(headers or {}), **self._authorization(url)}, body=body)

    def json(self, method: str, url: str, value: object = None) -> tuple[int, Any]:
        """The status and the value of an answer in JSON; None for one in anything else."""
        headers, body = {"Accept": "application/json"}, b""
        if value is not None:
            headers["Content-Type"], body = "application/json", json.dumps(value).encode()
        answer = self.ask(method, url, headers=headers, body=body)
        if answer.status in DENIED:
            raise self.refusal(answer, url)
        try:
            return answer.status, json.loads(answer.body)
        except ValueError:
            return answer.status, None

    def download(self, url: str, part: Path) -> None:
        """Fetch *url* into the file *part*. Raises :class:`ReleaseError`."""
        self.net.download(url, part, headers=self._authorization(url) or None)

    def refusal(self, answer: Answer, where: str) -> RefusedError:
        """The error for an *answer* that says no."""
        hint = ""
        if answer.status in DENIED:
            hint = self.denied()
        elif answer.status == 413:
            hint = "a server or a proxy before it limits the size of uploads (nginx: client_max_body_size)"
        said = f"the index says {answer.status}{self._said(answer)}"
        return RefusedError(said, status=answer.status, where=shown(where), hint=hint)

    def denied(self) -> str:
        """What a user can do who may not."""
        user, password = login.variables(self.name)
        if found := self._found():
            return f"user {found.user!r} was refused: is the password right, and may this user upload there?"
        host = urlsplit(self.url).hostname
        return f"put the login into ~/.netrc (machine {host} login USER password …), or set {user} and {password}"

    def _said(self, answer: Answer) -> str:
        """What the server gives as the reason: the message of JSON, the title of a page, or the first line."""
        text = answer.body[: 64 << 10].decode("utf-8", "replace")
        try:
            value = json.loads(text)
            found = value.get("message") or value.get("error") if isinstance(value, dict) else None
        except ValueError:
            title = re.search(r"<title>\s*(?:\d{3}\s+)?(.*?)\s*</title>", text, re.DOTALL | re.IGNORECASE)
            found = title[1] if title else text.strip().partition("\n")[0]
        words = " ".join(str(found or "").split())[:_MOST_SAID]
        for secret in self._secrets:
            words = words.replace(secret, "…")
        return f": {words}" if words.isprintable() and words and "<" not in words else ""

    def _authorization(self, url: str) -> dict[str, str]:
        """A login is for the host that it was made for: files may lie on another."""
        ours, theirs = urlsplit(self.url), urlsplit(url)
        found = self._found() if (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc) else None
        return {"Authorization": found.header} if found else {}

    def _found(self) -> login.Login | None:
        with self._finding:
            if self._login is None:
                found = login.find(self.name, self.url)
                self._login = (self._exchanged(found) if found and self.tokens else found,)
                self._secrets |= {one.password for one in (found, *self._login) if one}
            return self._login[0]

    def _exchanged(self, found: login.Login) -> login.Login:
        """A token instead of the password; what is wrong with the password, the next request tells."""
        body = json.dumps({"user": found.user, "password": found.password}).encode()
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        answer = self.net.ask("POST", self.tokens, headers=headers, body=body)
        try:
            token = json.loads(answer.body)["result"]["password"] if done(answer) else found.password
        except (ValueError, KeyError, TypeError):
            token = found.password
        return login.Login(user=found.user, password=str(token))


def require_json(value: Any, url: str) -> Any:
    """The ``result`` of an answer of devpi. Raises :class:`ReleaseError` when there is none."""
    if not isinstance(value, dict) or "result" not in value:
        raise ReleaseError("the answer is not one of devpi's", where=shown(url), hint='is its type "index"?')
    return value["result"]
