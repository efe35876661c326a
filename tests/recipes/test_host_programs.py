"""Programs that the host program starts, the units that it writes, and the files that it lays out."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from buildonce import hostprogram, units
from buildonce.service import Service
from buildonce.units import Facts
from tests.recipes.host_program import FOLDER, load, plan

if TYPE_CHECKING:
    from collections.abc import Iterator

files = load("files")
health = load("health")
image = load("image")
migration = load("migration")
plans = load("plan")
pool = load("pool")
program = load("program")
record = load("record")
shell = load("shell")
unit = load("unit")
Refused = load("problems").Refused

DIGEST = "5" * 64
SETTINGS = Service(
    command="tinyapp serve",
    port=8000,
    migrate="tinyapp migrate --all",
    credentials=("database",),
    environment={"MODE": "50%"},
)


def test_what_a_program_says_and_how_it_ends() -> None:
    done = shell.run("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.code, done.output, done.ok) == (3, "out\nerr\n", False)
    assert shell.run("no-such-program").code == 127
    with pytest.raises(Refused) as refused:
        shell.must("sh", "-c", "echo why; exit 1", why="it cannot be done")
    assert refused.value.problem.message == "it cannot be done: ended with 1"
    assert refused.value.problem.hint == "why"


def test_a_program_that_does_not_end() -> None:
    """It is ended with all that it started."""
    done = shell.run("sh", "-c", "sleep 1234 & echo $!; wait", timeout=5)
    assert done.code == 124
    while running(done.output.strip()):  # it has its signal, and ends when the kernel comes to it
        time.sleep(0.05)


def running(process: str) -> bool:
    """What is dead may lie there until somebody asks for it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_program_that_leaves_a_daemon_behind() -> None:
    """Maintainer scripts do; nobody waits for it."""
    began = time.monotonic()
    done = shell.run("sh", "-c", "sleep 300 & echo $!")
    os.kill(int(done.output), 9)
    assert time.monotonic() - began < 120


def entry(version: str = "1.0", form: str = "pex", data: bytes = b"app") -> Any:
    import hashlib

    sha256 = hashlib.sha256(data).hexdigest()
    return record.Entry(version, form, f"tinyapp-{version}.{form}", sha256, image=f"sha256:{DIGEST}", deployment="d1")


def staged(place: Any, version: str, data: bytes = b"app") -> Any:
    """*version* in the pool."""
    made = entry(version, data=data)
    with record.aside(place.pool, "new") as folder:
        (folder / made.file).write_bytes(data)
        pool.keep(place, made, plan(version=version), folder)
    return made


def test_the_link_leads_to_a_whole_release_at_any_moment(tmp_path: Path) -> None:
    place = record.Place("tinyapp", tmp_path)
    releases = [staged(place, version) for version in ("1.0", "2.0")]
    for one in releases:
        files.prepare(place, one, pool.require(place, one))
    assert not files.link(place).exists()
    files.install(place, releases[0], pool.require(place, releases[0]))
    seen, stop = set(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            seen.add((place.opt / "current/tinyapp.pex").read_bytes())

    thread = threading.Thread(target=look)
    thread.start()
    for number in range(200):
        files.install(place, releases[number % 2], pool.require(place, releases[number % 2]))
    stop.set()
    thread.join()
    assert seen == {b"app"}
    assert files.installed(place, releases[1])
    assert not files.installed(place, releases[0])
    assert sorted(path.name for path in place.opt.iterdir()) == ["current", "releases"]
    for one in reversed(releases):
        files.remove(place, one)
    assert not place.opt.exists()


def test_a_pex_that_was_changed_is_laid_anew(tmp_path: Path) -> None:
    place = record.Place("tinyapp", tmp_path)
    one = staged(place, "1.0")
    files.install(place, one, pool.require(place, one))
    pex = files.folder(place, "1.0") / "tinyapp.pex"
    pex.write_bytes(b"else")
    assert not files.installed(place, one)
    files.install(place, one, pool.require(place, one))
    assert (files.installed(place, one), pex.read_bytes()) == (True, b"app")
    assert pex.stat().st_mode & 0o777 == 0o755


def test_the_pool_gives_only_what_was_verified(tmp_path: Path) -> None:
    place = record.Place("tinyapp", tmp_path)
    one = staged(place, "1.0")
    assert pool.entry(place, "1.0") == one
    assert pool.settings(place, one).version == "1.0"
    pool.file(place, one).write_bytes(b"else")
    with pytest.raises(Refused) as refused:
        pool.require(place, one)
    assert refused.value.problem.kind == "verification"
    assert not pool.whole(place, record.Entry("1.0", "pex", "", ""))


@pytest.mark.parametrize(("keep", "left"), [(0, ["4", "3"]), (2, ["4", "3"]), (3, ["5", "4", "3"]), (9, list("54321"))])
def test_the_pool_forgets(keep: int, left: list[str], tmp_path: Path) -> None:
    place = record.Place("tinyapp", tmp_path)
    made = {version: staged(place, version) for version in "12345"}
    for number, version in enumerate("12345"):
        os.utime(pool.folder(place, version) / "entry.json", (number, number))
    state = record.State(current=made["4"], previous=made["3"])
    gone = pool.prune(place, state, keep)
    assert pool.versions(place) == left
    assert sorted([one.version for one in gone] + left) == list("12345")
    assert {path.name for path in place.pool.iterdir()} == set(left)


@pytest.mark.parametrize("form", ["deb", "pex", "wheelhouse"])
def test_the_migration_runs_in_the_services_unit(form: Any, tmp_path: Path) -> None:
    """All that confines the service, and all that it is given, is there; nothing that starts it."""
    service = units.service(SETTINGS, Facts(name="tinyapp"), form)
    job = migration.once(service, migration.command("/opt/x", "migrate", "50%", '"$HOME"'), 60, tmp_path / "said")
    lines, given = job.splitlines(), service.splitlines()
    assert 'ExecStart="/opt/x" "migrate" "50%%" "\\"$$HOME\\""' in lines
    assert [line for line in lines if line.startswith(("Exec", "Type", "Restart", "TimeoutS"))] == [
        "Type=oneshot",
        'ExecStart="/opt/x" "migrate" "50%%" "\\"$$HOME\\""',
        "TimeoutStartSec=60",
    ]
    start, end = given.index("[Service]"), given.index("[Install]")
    own = ("#", "Exec", "Type=", "Restart", "Timeout", "KillMode", "OOMPolicy")
    kept = [line for line in given[start + 1 : end] if line and not line.startswith(own)]
    assert [line for line in lines if line in kept] == kept
    assert any(line.startswith("LoadCredential=database") for line in kept)


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_the_migration_in_a_container_of_its_own(engine: Any, tmp_path: Path) -> None:
    """Nothing of it touches the container that runs."""
    found = units.files(SETTINGS, Facts(name="tinyapp", image=f"sha256:{DIGEST}"), "oci", engine)
    service = found["/etc/systemd/system/tinyapp.service"]
    one = entry(form="oci")
    image.require(dict(found), one)
    made = image.migration(service, "tinyapp", one, ("tinyapp", "migrate", "--all"))
    job = migration.once(made, (), 60, tmp_path / "said", own=migration._CLIENT)
    (start,) = (line for line in job.splitlines() if line.startswith("ExecStart="))
    words = start.split()
    assert words[:2] == [f"ExecStart=/usr/bin/{engine}", "run"]
    assert words[words.index("--name") + 1] == "tinyapp-migrate"
    at = words.index(f"sha256:{DIGEST}")
    assert words[at - 2 :] == ["--entrypoint", "/opt/venvs/tinyapp/bin/tinyapp", words[at], "migrate", "--all"]
    assert "--publish" not in words
    assert "--read-only" in words
    assert "--volume tinyapp:/var/lib/tinyapp" in " ".join(words)
    assert "RuntimeDirectory=tinyapp-migrate" in job
    assert "EnvironmentFile=-/etc/tinyapp/env" in job
    assert f"ExecStopPost=-/usr/bin/{engine} rm --force tinyapp-migrate" in job
    assert "ExecStop=" not in job
    others = [
        word for line in job.splitlines() for word in line.split() if word == "tinyapp" or "/run/tinyapp/" in word
    ]
    assert others == []


def test_units_that_do_not_run_the_image() -> None:
    line = "ExecStart=docker run tinyapp"
    with pytest.raises(Refused):
        image.require({"/etc/systemd/system/tinyapp.service": line}, entry(form="oci"))
    with pytest.raises(Refused):
        image.migration(line, "tinyapp", entry(form="oci"), ("tinyapp",))


def test_an_engine_that_warns_beside_what_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As podman does; docker writes sha256: before an ID, podman does not."""
    for answer in (f"sha256:{DIGEST}\n", f'level=warning msg="Using cgroups-v1"\n{DIGEST}\n'):
        monkeypatch.setattr(shell, "run", lambda *argv, answer=answer: shell.Done(argv, 0, answer))
        assert image.loaded("podman", entry(form="oci"))


def test_an_engine_that_loads_another_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its tag may say what it likes."""
    said: list[tuple[str, ...]] = []

    def engine(*argv: str, **_: object) -> Any:
        said.append(argv)
        return shell.Done(argv, 0, f"sha256:{'6' * 64}\n" if argv[1] == "image" else "Loaded image: tinyapp\n")

    monkeypatch.setattr(shell, "run", engine)
    with pytest.raises(Refused) as refused:
        image.prepare("docker", entry(form="oci"), tmp_path / "image.tar")
    assert refused.value.problem.kind == "verification"
    assert said[1] == ("docker", "load", "--input", str(tmp_path / "image.tar"))
    image.remove("podman", entry(form="oci"))
    assert said[-1] == ("podman", "image", "rm", DIGEST)


class Answers(http.server.BaseHTTPRequestHandler):
    """What the test wants, one after the other; the last one for ever."""

    answers: list[tuple[int, str, dict[str, str]]]

    def do_GET(self) -> None:
        status, body, headers = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def answering(*answers: tuple[int, str, dict[str, str]]) -> Iterator[Any]:
    """A service that answers so, on some port."""
    handler = type("Handler", (Answers,), {"answers": list(answers)})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield plans.of(plan(service={**plan()["service"], "port": server.server_port})).service
        server.shutdown()
        thread.join()


GOOD = (200, '{"version": "1.0"}', dict[str, str]())


def waits(
    monkeypatch: pytest.MonkeyPatch, service: Any, *states: dict[str, str], successes: int = 3, timeout: float = 1
) -> Any:
    """Wait for version 1.0, while systemd tells *states*, the last one for ever."""
    left = [
        {"NRestarts": "0", "ActiveState": "active", "SubState": "running", "Result": "success", **s} for s in states
    ]
    monkeypatch.setattr(unit, "show", lambda *_, **__: left[0] if len(left) == 1 else left.pop(0))
    monkeypatch.setattr(unit, "journal", lambda *_: "what it said last")
    check = plans.Check(timeout=timeout, successes=successes, interval=0.02, settle=0.02)
    return health.wait(record.Place("tinyapp"), service, check, "1.0")


@pytest.mark.parametrize(
    "answers",
    [
        (GOOD,),
        ((200, "ok", {"X-Release": "1.0"}),),
        ((503, "{}", {}), (200, '{"version": "0.9"}', {}), GOOD),
        (GOOD, (503, '{"version": "1.0"}', {}), GOOD),
    ],
)
def test_well_at_last(answers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(*answers) as service:
        assert waits(monkeypatch, service, {}).version == "1.0"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((503, '{"version": "1.0"}', {}), "is not well: 503, version 1.0"),
        ((200, '{"version": "0.9"}', {}), "answers as another version: 200, version 0.9"),
        ((200, "ok", {}), "does not say its version, in JSON or in the header X-Release: 200: ok"),
        ((200, "[]", {}), "does not say its version"),
        ((302, "", {"Location": "http://127.0.0.1:1/"}), "is not well: 302"),
    ],
)
def test_never_well(answer: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(answer) as service, pytest.raises(Refused) as refused:
        waits(monkeypatch, service, {})
    assert said in refused.value.problem.message
    assert refused.value.problem.hint == "what it said last"
    assert refused.value.facts["answer"]["status"] == answer[0]


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(GOOD) as service:
        pass
    with pytest.raises(Refused) as refused:
        waits(monkeypatch, service, {})
    assert "Connection refused" in refused.value.problem.message


def test_restarted_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each start answers well for a moment."""
    states = [{"NRestarts": str(number)} for number in range(1000)]
    with answering(GOOD) as service, pytest.raises(Refused) as refused:
        waits(monkeypatch, service, *states)
    assert "restarted" in refused.value.problem.message


def test_a_failed_unit_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering((503, "", {})) as service, pytest.raises(Refused):
        waits(monkeypatch, service, {"ActiveState": "failed"}, timeout=10_000)


def test_one_line_of_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever happens, the last line tells it."""

    def call(*arguments: str) -> tuple[int, dict[str, Any]]:
        code = program.main([*arguments, "--name", "tinyapp"])
        (line,) = capsys.readouterr().out.splitlines()
        return code, json.loads(line)

    def place(name: str, *_: object) -> Any:
        return made(name, tmp_path)

    def fault(_: object) -> None:
        raise ZeroDivisionError

    made = record.Place
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(os, "umask", lambda _: None)
    monkeypatch.setattr(record, "Place", place)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert call("status")[1]["problems"] == [
        {"message": "only root can do this", "hint": "become root: sudo, or become: true"}
    ]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "plan.json").write_text("{")
    code, answer = call("preflight", "--plan", str(tmp_path / "plan.json"))
    assert (code, answer["step"], answer["ok"], answer["changed"]) == (1, "preflight", False, False)
    assert answer["problems"][0]["message"].startswith("the plan is not a JSON document")
    code, answer = call("status")
    assert (code, answer["current"], answer["pending"], answer["healthy"]) == (0, None, None, False)
    code, answer = call("arm")
    assert (code, answer["problems"][0]["hint"]) == (1, "name the plan with --plan")
    assert call("rollback")[1]["state"] == "unchanged"
    (tmp_path / "plan.json").write_text(json.dumps(plan(name="other")))
    assert "is for other" in call("switch", "--plan", str(tmp_path / "plan.json"))[1]["problems"][0]["message"]
    monkeypatch.setitem(program.STEPS, "boot", fault)
    code, answer = call("boot")
    assert (code, answer["problems"][0]["message"]) == (
        1,
        "boot was stopped by a fault of its own: ZeroDivisionError()",
    )


def test_it_can_be_started(tmp_path: Path) -> None:
    """As a folder, and as the one file that hosts get."""
    hostprogram.write(tmp_path / "host.pyz")
    for program_ in (FOLDER, tmp_path / "host.pyz"):
        done = subprocess.run([sys.executable, "-I", program_, "--help"], capture_output=True, text=True, check=True)
        assert "preflight" in done.stdout
