"""Before a registry that lists no referrers: what a newer one does (distribution specification 1.1), a row a page."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["listing"]


@contextlib.contextmanager
def listing(to: str) -> Iterator[str]:
    """Answers the host of a registry that is the one at the host *to*, and lists what refers to a manifest."""

    class Handler(_Handler):
        far = to
        rows: ClassVar = {}

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    far: str
    rows: ClassVar[dict[tuple[str, str], dict[str, Any]]]  # by subject and digest

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = re.fullmatch(r"/v2/.+/referrers/(sha256:\w+)", urlsplit(self.path).path)
        if asked:
            self._list(asked[1])
            return
        with contextlib.closing(http.client.HTTPConnection(self.far)) as far:
            far.request(self.command, self.path, body, {name: self.headers[name] for name in self.headers})
            answer = far.getresponse()
            headers = dict(answer.getheaders())
            if self.command == "PUT" and answer.status == 201 and "/manifests/" in self.path:
                headers |= self._noted(body)
            self._answer(answer.status, headers, answer.read())

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - http.server's names

    def _noted(self, body: bytes) -> dict[str, str]:
        found = json.loads(body)
        if "subject" not in found:
            return {}
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        self.rows[found["subject"]["digest"], digest] = {
            "mediaType": found["mediaType"],
            "digest": digest,
            "size": len(body),
            "artifactType": found["artifactType"],
            "annotations": found["annotations"],
        }
        return {"OCI-Subject": found["subject"]["digest"]}

    def _list(self, subject: str) -> None:
        found = [row for (about, _), row in self.rows.items() if about == subject]
        page = int(parse_qs(urlsplit(self.path).query).get("page", ["0"])[0])
        kind = "application/vnd.oci.image.index.v1+json"
        headers = {"Content-Type": kind}
        if page + 1 < len(found):
            headers["Link"] = f'<{urlsplit(self.path).path}?page={page + 1}>; rel="next"'
        body = {"schemaVersion": 2, "mediaType": kind, "manifests": found[page : page + 1]}
        self._answer(200, headers, json.dumps(body).encode())

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in {"connection", "content-length", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("Content-Length", headers.get("Content-Length") or str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Silent."""
