"""Programs in containers that run already, and what they print.

The docker package's own way (``exec_start``) looks for the output behind the buffer of the HTTP response, which has it
already when the engine's headers and output come together: it is lost then, and the exit code says that all went well
(docker-py issues 2042 and 3332). Here the request asks for no other protocol, and the response is read as any other.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["NOT_RUN", "Ended", "execute", "frames"]

NOT_RUN: Final = 126  # a code as a shell says it
_STDOUT: Final = 1
_FRAME: Final = 8  # bytes before every piece of output: which stream, three of nothing, length
_PIECE: Final = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The exit code of a program, and what it printed, in order (is it stdout?, bytes)."""

    code: int
    pieces: tuple[tuple[bool, bytes], ...]

    @property
    def output(self) -> str:
        """Both streams."""
        return _text(data for _, data in self.pieces)

    @property
    def stdout(self) -> str:
        """The one stream."""
        return _text(data for is_stdout, data in self.pieces if is_stdout)

    @property
    def stderr(self) -> str:
        """The other."""
        return _text(data for is_stdout, data in self.pieces if not is_stdout)


def _text(pieces: Iterable[bytes]) -> str:
    return b"".join(pieces).decode(errors="replace")


def execute(
    client: Any, container: str, argv: Sequence[str], *, user: str = "", environment: Mapping[str, str] | None = None
) -> Ended:
    """Run a program in the *container* (an id) of the engine that *client* (docker.APIClient) is connected to, to its
    end, however long it takes. The code is 126 when it did not run to an end of its own.

    Raises :class:`docker.errors.APIError` when the container is not there or does not run. The engine's interface is
    described at https://docs.docker.com/engine/api/ (ContainerExec, ExecStart).
    """
    import docker
    import requests

    made = client.exec_create(container, list(argv), user=user, environment=dict(environment or {}))["Id"]
    place = f"{client.base_url}/v{client.api_version}/exec/{made}/start"
    response = client.post(place, json={"Detach": False, "Tty": False}, timeout=None)
    try:
        response.raise_for_status()
    except requests.HTTPError as error:
        docker.errors.create_api_error_from_http_exception(error)
    while (state := client.exec_inspect(made))["Running"]:  # it has closed its streams before its end
        time.sleep(0.05)
    code = NOT_RUN if state["ExitCode"] is None else int(state["ExitCode"])
    return Ended(code=code, pieces=tuple(frames(io.BytesIO(response.content))))


def frames(stream: IO[bytes]) -> Iterator[tuple[bool, bytes]]:
    """Take the engine's stream apart until it ends: whether it is stdout, and a piece of it, in pieces of at most
    64 KiB (https://docs.docker.com/engine/api/, ContainerAttach, "Stream format").
    """
    while len(head := stream.read(_FRAME)) == _FRAME:
        left = int.from_bytes(head[4:], "big")
        while left and (data := stream.read(min(left, _PIECE))):
            yield head[0] == _STDOUT, data
            left -= len(data)
