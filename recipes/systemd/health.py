"""Waits until a service on this host is well and of the wanted version: status alone would accept the old process.

    python3 health.py URL VERSION [SECONDS]

Ends with 0 after three good answers in a row, with 1 when there were none in time. An answer is good when its status is
200 and it says the version: as "version" in JSON, or in the header X-Release. Standard library only.
"""

import contextlib
import http.client
import json
import sys
import time
import urllib.parse

ROW = 3


def ask(url):
    """The status and version of one answer over a new connection; the status is 0 when there was none."""
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=3)  # knows nothing of proxies
    with contextlib.closing(connection):
        try:
            connection.request("GET", place._replace(scheme="", netloc="").geturl())
            answer = connection.getresponse()
            body = answer.read(1 << 16).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error)
    version = answer.headers.get("X-Release", "")
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        version = str(json.loads(body).get("version", version))
    return answer.status, version


def wait(url, version, seconds=60.0):
    """Whether the service got well in time, and the last answer in words."""
    end, row = time.monotonic() + seconds, 0
    while True:
        status, said = ask(url)
        row = row + 1 if (status, said) == (200, version) else 0
        told = f"{url}: {status}, version {said or 'not said'}" if status else f"{url}: {said}"
        if row == ROW or time.monotonic() > end:
            return row == ROW, told
        time.sleep(0.5)


if __name__ == "__main__":
    well, told = wait(sys.argv[1], sys.argv[2], float((sys.argv[3:] or ["60"])[0]))
    print(told, file=sys.stdout if well else sys.stderr)
    sys.exit(not well)
