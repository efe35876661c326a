"""Asks for pages all the time: ``asking.py RESULT URL PATH…`` until SIGTERM. Runs on the host of the balancer.

Half of the threads open a connection for every request, the others keep theirs. RESULT is written anew all the time,
as JSON: how many requests were sent, how many of them failed (no answer, or not 200), which, and how many answers each
version gave.
"""

import collections
import http.client
import itertools
import json
import pathlib
import signal
import sys
import threading
import time
import urllib.parse

PACE = 0.02  # seconds between two requests of a thread: the machine has other work
TOLD = 20  # failures that are told in full


class Count:
    """What all threads have seen."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.sent = self.failed = 0
        self.versions: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []

    def add(self, version: str, failure: str) -> None:
        with self.lock:
            self.sent += 1
            if version:
                self.versions[version] += 1
            if failure:
                self.failed += 1
                self.failures = [*self.failures, failure][:TOLD]

    def write(self, place: str) -> None:
        with self.lock:
            facts = {
                "sent": self.sent,
                "failed": self.failed,
                "versions": dict(self.versions),
                "failures": self.failures,
            }
        new = pathlib.Path(f"{place}.new")
        new.write_text(json.dumps(facts))
        new.replace(place)


def version(text: str) -> str:
    """Of an answer: what stands under that name in JSON, or the whole text; nothing of a page of haproxy's."""
    try:
        found = json.loads(text)
    except ValueError:
        found = {"version": "" if text.startswith("<") else text.strip()}
    return str(found.get("version", "")) if isinstance(found, dict) else text.strip()


def ask(count: Count, over: threading.Event, place: urllib.parse.SplitResult, path: str, keep: bool) -> None:
    connection = http.client.HTTPConnection(place.hostname or "", place.port or 80, timeout=40)
    while not over.wait(PACE):
        said, failure = "", ""
        try:
            connection.request("GET", path, headers={} if keep else {"Connection": "close"})
            answer = connection.getresponse()
            said = version(answer.read().decode())
            if answer.status != 200:
                failure = f"{answer.status} {said}"
        except (OSError, http.client.HTTPException) as error:
            failure = repr(error)
            connection.close()
        if not keep:
            connection.close()
        kind = "kept" if keep else "new"
        count.add(said, failure and f"{time.time():.2f} {path} over a {kind} connection: {failure}")
    connection.close()


def main() -> None:
    result, url, *paths = sys.argv[1:]
    place = urllib.parse.urlsplit(url)
    count, over = Count(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    threads = [
        threading.Thread(target=ask, args=(count, over, place, path, keep))
        for path, keep in itertools.product(paths, (False, True))
    ]
    for thread in threads:
        thread.start()
    while not over.wait(0.1):
        count.write(result)
    for thread in threads:
        thread.join()
    count.write(result)


main()
