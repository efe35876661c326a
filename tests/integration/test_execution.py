"""Programs in containers of the Docker engine: what they print, and how they end, is heard on busy machines, too."""

from __future__ import annotations

import http.client
import io
import time
from typing import TYPE_CHECKING

import docker
import pytest

from buildonce.system import execution
from tests.integration import hosts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.hosts import Host


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with hosts.running(hosts.HOST.tag(), command=hosts.IDLE) as host:
        yield host


def test_both_streams_when_the_answer_is_read_late(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The headers and all of the output are there already, and come together."""
    begin = http.client.HTTPResponse.begin

    def late(self: http.client.HTTPResponse) -> None:
        time.sleep(0.3)
        begin(self)

    monkeypatch.setattr(http.client.HTTPResponse, "begin", late)
    ended = host.execute("sh", "-c", "echo well; sleep 0.05; echo ill >&2; exit 3")
    assert (ended.code, ended.stdout, ended.stderr, ended.output) == (3, "well\n", "ill\n", "well\nill\n")


def test_much_of_it(host: Host) -> None:
    ended = host.execute("sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; printf '\\377' >&2")
    assert ended.stdout == "x" * 3_000_000
    assert ended.stderr == "\ufffd"


def test_who_asks_with_what(host: Host) -> None:
    ended = host.execute("sh", "-c", 'id -un; echo "$HOME_OF"', user="nobody", environment={"HOME_OF": "nobody's"})
    assert (ended.code, ended.output) == (0, "nobody\nnobody's\n")


def test_its_end_is_waited_for(host: Host) -> None:
    """Also when nothing can be heard of it any more."""
    assert host.execute("sh", "-c", "exec >&- 2>&-; sleep 1; exit 4").code == 4


def test_no_such_program(host: Host) -> None:
    ended = host.execute("not-there")
    assert ended.code in (126, 127)
    assert "not-there" in ended.output


def test_a_container_that_does_not_run(host: Host) -> None:
    with hosts.engine() as client:
        made = client.containers.create(hosts.HOST.tag(), command=hosts.IDLE, labels=[hosts.LABEL])
        try:
            with pytest.raises(docker.errors.APIError, match="is not running"):
                execution.execute(client.api, made.id, ["true"])
        finally:
            made.remove()


def test_a_stream_that_ends_in_the_middle() -> None:
    whole = b"\x01\0\0\0\0\0\0\x03abc" + b"\x02\0\0\0\0\0\0\x02de"
    assert list(execution.frames(io.BytesIO(whole))) == [(True, b"abc"), (False, b"de")]
    assert list(execution.frames(io.BytesIO(whole[:-1]))) == [(True, b"abc"), (False, b"d")]
    assert list(execution.frames(io.BytesIO(whole[:-3]))) == [(True, b"abc")]
    assert list(execution.frames(io.BytesIO(whole[:-6]))) == [(True, b"abc")]
