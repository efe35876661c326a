"""A server of the S3 protocol on this machine: moto, behind real HTTP. What it keeps is in memory."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from buildonce.system import files

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator

    from werkzeug.serving import BaseWSGIServer

ACCESS, SECRET = "AKIDEXAMPLE", "correct-horse-battery"


def log_in(access: str = ACCESS, secret: str = SECRET) -> None:
    """What a user writes into ``~/.aws/credentials``."""
    text = f"[default]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n"
    # Several threads of a test log in and read: none may see the file half-written.
    files.write_atomically(Path.home() / ".aws/credentials", text.encode(), mode=0o600)


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    url: str

    @functools.cache  # noqa: B019 - there is one server in a process
    def client(self, service: str = "s3", access: str = ACCESS, secret: str = SECRET) -> Any:
        """A client of boto3, which has no types."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )

    def new_bucket(self) -> str:
        """An empty bucket that keeps every version of an object: a look at them tells each write."""
        name = f"bucket-{next(_NUMBERS)}"
        client = self.client()
        client.create_bucket(Bucket=name)
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name


_NUMBERS = itertools.count(1)
# Each client reads the same megabytes of descriptions; a process as users start it has one.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)


@functools.cache
def server() -> Server:
    """The server of this process, which ends with it."""
    return Server(f"http://127.0.0.1:{_start().server_port}")


@contextlib.contextmanager
def serving(tls: ssl.SSLContext) -> Iterator[str]:
    """The same server at another address, by TLS."""
    made = _start(tls)
    try:
        yield f"https://127.0.0.1:{made.server_port}"
    finally:
        made.shutdown()


def _start(tls: ssl.SSLContext | None = None) -> BaseWSGIServer:
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)  # it logs connections that tests cut
    made = make_server("127.0.0.1", 0, _application(), threaded=True, request_handler=_Handler, ssl_context=tls)
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    return made


@functools.cache
def _application() -> _OneAtATime:
    return _OneAtATime(DomainDispatcherApplication(create_backend_app))


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"


class _OneAtATime:
    """moto looks at a condition, then writes: in between nobody else may. A body that did not come whole is refused."""

    def __init__(self, application: Callable[[dict[str, Any], Any], Iterable[bytes]]) -> None:
        self._application, self._lock = application, threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        size = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(size) if size else b""
        if len(body) < size:
            start("400 Bad Request", [("Content-Length", "0")])
            return []
        environ["wsgi.input"] = io.BytesIO(body)
        with self._lock:
            return [b"".join(self._application(environ, start))]
