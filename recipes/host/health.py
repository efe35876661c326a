"""Whether the service is well, and of the wanted version: status alone would accept the old process.

Asked over HTTP on this host, as often in a row as the plan says; then it must not have been restarted for a while.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import unit
from problems import Refused

if TYPE_CHECKING:
    from plan import Check, Service
    from record import Place

PATIENCE = 3  # seconds for one answer
SHOWN = 200  # characters
FACTS = ("NRestarts", "ActiveState", "SubState", "Result", "ConditionResult")


@dataclass(frozen=True)
class Answer:
    """One answer; status 0 when there was none."""

    status: int
    version: str = ""
    body: str = ""

    def good(self, version: str) -> bool:
        return self.status == http.client.OK and self.version == version

    def told(self) -> str:
        if not self.status:
            return self.body
        return f"{self.status}, version {self.version}: {self.body}" if self.version else f"{self.status}: {self.body}"

    def fields(self) -> dict[str, object]:
        return {"status": self.status, "version": self.version, "body": self.body}


def ask(service: Service, host: str = "127.0.0.1") -> Answer:
    """What the service answers now."""
    connection = http.client.HTTPConnection(host, service.port, timeout=PATIENCE)  # knows nothing of proxies
    with contextlib.closing(connection):
        try:
            connection.request("GET", service.health, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            body = answer.read(1 << 16).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return Answer(0, body=str(error) or type(error).__name__)
    version = answer.headers.get("X-Release", "")
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        version = str(json.loads(body).get("version", version))
    return Answer(answer.status, version, body[:SHOWN].strip())


def wait(place: Place, service: Service, check: Check, version: str) -> Answer:
    """Wait until *version* is well; answers its last answer. Raises :class:`Refused` when it does not get well."""
    end, row, restarts = time.monotonic() + check.timeout, 0, ""
    while True:
        answer = ask(service)
        facts = unit.show(place, *FACTS)
        if not answer.good(version) or facts["NRestarts"] != restarts:
            row, restarts = 0, facts["NRestarts"]
        row += answer.good(version)
        if row >= check.successes:
            time.sleep(check.settle)
            answer, facts = ask(service), unit.show(place, *FACTS)
            if answer.good(version) and facts["NRestarts"] == restarts and facts["ActiveState"] == "active":
                return answer
            row = 0
        if facts["ActiveState"] == "failed" or time.monotonic() > end:
            raise _ill(place, answer, facts, version)
        time.sleep(check.interval)


def _ill(place: Place, answer: Answer, facts: dict[str, str], version: str) -> Refused:
    restarts = f", restarted {facts['NRestarts']} times" if facts["NRestarts"] not in ("", "0") else ""
    state = f"the unit is {facts['ActiveState']} ({facts['SubState']}, {facts['Result']}{restarts})"
    what = "is not well"
    if answer.status == http.client.OK:
        silent = "does not say its version, in JSON or in the header X-Release"
        what = "answers as another version" if answer.version else silent
    return Refused(
        f"{place.name} {version} {what}: {answer.told()}; {state}",
        unit.journal(place),
        answer=answer.fields(),
    )
