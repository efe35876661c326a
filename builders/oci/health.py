"""Asks a service whether it is well: exit 0 for an answer of 200 to 399, 1 for everything else.

Runs inside the image, by the image's own interpreter, because there is no curl in it. Standard library only.
"""

import http.client
import sys
import urllib.parse

SECONDS = 4.0


def main(url: str) -> int:
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=SECONDS)
    try:
        connection.request("GET", place._replace(scheme="", netloc="").geturl() or "/")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer from {url}: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    print(f"{url}: {status}")
    return 0 if 200 <= status < 400 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
