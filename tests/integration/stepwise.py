"""A systemd host that releases of ``beat`` are deployed to by the host program alone, step by step, without Ansible."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import tarfile
import threading
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from buildonce import hostprogram, units
from buildonce.service import Service
from buildonce.units import Facts
from tests.integration import hosts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from buildonce.environments import Form
    from tests.integration.beats import Beats
    from tests.integration.hosts import Host

__all__ = ["CHECK", "FILES", "HOME", "IMAGE", "STEPS", "Answer", "Machine", "packed", "running"]

IMAGE: Final = hosts.Image(
    name="host-program",
    packages=("systemd", "systemd-sysv", "dbus", "python3.11", "python3", "gpgv", "procps"),
)

HOME: Final = "/var/lib/release/beat"
# What a parcel has of a release, beside the artifact.
FILES: Final = ("SHA256SUMS", "SHA256SUMS.asc", "release.json")
STEPS: Final = ("lock", "stage", "arm", "migrate", "switch", "check", "confirm", "unlock")
CHECK: Final = {"timeout": 8, "successes": 2, "interval": 0.1, "settle": 0.2}

SETTINGS: Final = Service(command="beat serve", port=8000, migrate="beat migrate")


@dataclass(frozen=True)
class Answer:
    """What a step said."""

    code: int
    facts: Mapping[str, Any]
    text: str

    def __getitem__(self, key: str) -> Any:
        return self.facts[key]

    @property
    def told(self) -> str:
        """Its problems, as somebody reads them."""
        return "\n".join(f"{one['message']}\n{one['hint']}" for one in self.facts["problems"])


@dataclass
class Machine:
    """The host, and what somebody who deploys knows."""

    host: Host
    beats: Beats
    form: str
    folder: Path  # of this machine's own
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def prepare(self) -> None:
        """Bring the host program and the certificate."""
        assert self.beats["1.0.0"].version == "1.0.0"  # the first release makes the key
        hostprogram.write(self.folder / "host.pyz")
        self.host.put(self.folder / "host.pyz", HOME)
        certificate = self.folder / "beat.gpg"
        certificate.write_bytes(self.beats.key.with_suffix(".gpg").read_bytes())
        self.host.put(certificate, "/etc/release/keys")

    def plan(self, version: str, **changes: Any) -> dict[str, Any]:
        """The plan for a new deployment of *version*."""
        fields = {
            "schema": 1,
            "deployment": f"d-{uuid.uuid4().hex[:8]}",
            "who": "ana@laptop",
            "name": "beat",
            "mode": "deploy",
            "format": self.form,
            "source": "bundle",
            "version": version,
            "artifacts": {"debian-12": self._artifact(version)} if version else {},
            "signed": True,
            "apt": None,
            "service": {
                "user": "beat",
                "port": 8000,
                "health": "/health",
                "migrate": "beat migrate",
                "command": "beat serve",
                "environment": {},
                "writable": [],
            },
            "engine": "",
            "check": CHECK,
            "guard": 120,
            "lease": 600,
            "keep": 5,
            "floor": "",
            "downgrade": "a test",
        }
        return {**fields, **self.defaults, **changes}

    def _artifact(self, version: str) -> dict[str, Any]:
        release = self.beats[version]
        row = next(one for one in release.data["artifacts"] if one["format"] == self.form)
        return {
            **{key: row[key] for key in ("file", "sha256", "size")},
            "package": f"{version}-1+deb12" if self.form == "deb" else "",
            "image": "",
            "distribution": "debian",
            "release": "12",
            "codename": "bookworm",
            "architecture": "amd64",
            "interpreter": "/usr/bin/python3.11",
            "units": dict(units.files(SETTINGS, Facts(name="beat"), cast("Form", self.form))),
        }

    def bring(self, plan: Mapping[str, Any], parcel: bytes = b"") -> None:
        """Put the plan and the parcel on the host, and take the lock."""
        if plan["mode"] == "deploy" and plan["source"] == "bundle":
            (self.folder / "parcel.tar").write_bytes(parcel or self.parcel(plan["version"]))
            self.host.put(self.folder / "parcel.tar", HOME)
        (self.folder / "incoming.json").write_text(json.dumps(plan))
        self.host.put(self.folder / "incoming.json", HOME)

    def parcel(self, version: str, **changed: bytes | None) -> bytes:
        """What is brought of *version*; *changed* are files with other bytes, or None for one that is left out."""
        release = self.beats[version]
        files = {name: (release.folder / name).read_bytes() for name in (*FILES, release.file(self.form).name)}
        return packed({name: data for name, data in {**files, **changed}.items() if data is not None})

    def step(self, name: str, *arguments: str) -> Answer:
        """Run one step of the host program."""
        command = ["python3", f"{HOME}/host.pyz", name, "--name", "beat", *arguments]
        ended = self.host.execute(*command)
        lines = ended.stdout.splitlines()
        assert len(lines) == 1, f"{name} ended with {ended.code}: {lines}\n{ended.stderr}"
        answer = Answer(ended.code, json.loads(lines[0]), ended.stderr)
        assert answer["step"] == name
        assert answer["ok"] is (ended.code == 0), lines
        return answer

    def preflight(self, plan: Mapping[str, Any]) -> Answer:
        """What preflight finds; the plan is not on the host."""
        return self.step("preflight", "--plan-json", base64.b64encode(json.dumps(plan).encode()).decode())

    def write(self, path: str, text: str) -> None:
        """Write a file that can be run."""
        self.host.run("sh", "-euc", 'printf "%s" "$2" >"$1"; chmod 755 "$1"', "-", path, text)

    def started(self) -> str:
        """When the service was started; another one after a restart."""
        return self.host.run("systemctl", "show", "--property=MainPID,ActiveEnterTimestampMonotonic", "beat")

    def migrations(self) -> list[str]:
        """The versions that the data were brought to."""
        return self.host.run("cat", "/var/lib/beat/migrations").split()

    def steps(self, plan: Mapping[str, Any], *, until: str = "unlock", parcel: bytes = b"") -> Answer:
        """All steps to *until*, which alone may fail; its answer."""
        self.bring(plan, parcel)
        answer = None
        for name in STEPS[: STEPS.index(until) + 1]:
            answer = self.step(name, *(("--plan", f"{HOME}/incoming.json") if name == "lock" else ()))
            assert name == until or answer.code == 0, f"{name}: {answer.told}\n{answer.text}"
        assert answer is not None
        return answer

    def deploy(self, version: str, **changes: Any) -> dict[str, Any]:
        """Deploy *version*, which has to succeed; its plan."""
        plan = self.plan(version, **changes)
        answer = self.steps(plan)
        assert answer.code == 0, answer.told + answer.text
        self.runs(version)
        return plan

    def at(self, version: str) -> None:
        """Be a host on which *version* runs, whatever was before, with nobody deploying."""
        status = self.step("status")
        self.host.run("rm", "-f", f"{HOME}/lock.json")
        if not status["healthy"] or status["current"]["version"] != version or status["pending"]:
            self.wipe()
            self.deploy(version)

    def wipe(self) -> None:
        """Be a host to which nothing was ever deployed."""
        self.host.sh(f"""
            systemctl stop 'release-*' beat 2>/dev/null || :
            systemctl disable --quiet beat release-boot@beat 2>/dev/null || :
            apt-mark unhold beat >/dev/null 2>&1 || :
            dpkg --force-all --purge beat >/dev/null 2>&1 || :
            rm -rf /opt/beat /etc/beat /var/lib/beat {HOME}/*.json {HOME}/pool {HOME}/parcel.tar /run/release
            rm -rf /etc/systemd/system/beat.service* /etc/systemd/system/release-boot* /etc/sysusers.d/beat.conf
            systemctl daemon-reload; systemctl reset-failed
            dpkg --audit
        """)

    def served(self) -> str:
        """The version that answers; "" when nobody does."""
        status, facts = self.host.ask("GET", "/health")
        return str(facts["version"]) if status == 200 else ""

    def installed(self) -> str:
        """The version that is installed; "" when none is."""
        if self.form == "deb":
            said = self.host.run("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", "beat", check=False)
            return said.removeprefix("installed ").removesuffix("-1+deb12") if said.startswith("installed ") else ""
        return self.host.sh("readlink /opt/beat/current || :").strip().removeprefix("releases/")

    def runs(self, version: str) -> None:
        """Fail the test unless *version*, and nothing of another one, is what runs, is installed and is remembered."""
        status = self.step("status")
        current = status["current"]
        facts = {
            "remembered": current["version"] if current else "",
            "installed": self.installed(),
            "served": self.served(),
            "pending": status["pending"],
            "guard": self.host.succeeds("systemctl", "is-active", "--quiet", "release-guard-beat.timer"),
            "left": self.host.sh(f"find {HOME} /opt/beat -name '.*' 2>/dev/null || :"),
            "dpkg": self.host.run("dpkg", "--audit"),
        }
        wanted = {"remembered": version, "installed": version, "served": version, "pending": None, "guard": False}
        assert facts == {**wanted, "left": "", "dpkg": ""}
        if not version:
            assert not self.host.succeeds("systemctl", "is-active", "--quiet", "beat")
        elif self.form == "deb":
            assert self.host.run("dpkg", "--verify", "beat") == ""

    def goes_back_to(self, version: str, seconds: float = 60) -> None:
        """Wait until nothing is pending any more, then see that *version* runs."""
        hosts.until(
            lambda: not self.host.succeeds("test", "-e", f"{HOME}/pending.json"), seconds=seconds, told=self.log
        )
        hosts.until(lambda: not self.host.succeeds("pgrep", "-f", "host.pyz"), told=self.log)
        self.runs(version)

    def last(self) -> tuple[str, str, str]:
        """The last line of the host's history: what happened, to which version, by whom."""
        line = self.step("status")["history"][-1]
        return line["event"], line["version"], line["by"]

    def log(self) -> str:
        """What the guard and the boot unit said."""
        return self.host.run("journalctl", "--no-pager", "-n", "80", "-o", "cat", check=False)

    def power_cut(self) -> None:
        """Stop everything at once, then start the machine again."""
        self.host.container.kill("KILL")
        self.host.container.wait()
        self.host.container.start()
        hosts.until(lambda: self.host.succeeds("systemctl", "is-active", "--quiet", "multi-user.target"), told=self.log)

    def meanwhile(self, name: str) -> threading.Thread:
        """Run a step that will not come to its end."""
        command = ["python3", f"{HOME}/host.pyz", name, "--name", "beat"]
        thread = threading.Thread(target=self.host.container.exec_run, args=(command,))
        thread.start()
        return thread


@contextlib.contextmanager
def running(beats: Beats, form: str, folder: Path, **options: Any) -> Iterator[Machine]:
    """Such a host, for releases in one form; *folder* is its own."""
    folder.mkdir()
    with hosts.running(IMAGE.tag(), systemd=True, **options) as host:
        machine = Machine(host, beats, form, folder)
        machine.prepare()
        yield machine


def packed(files: Mapping[str, bytes]) -> bytes:
    """A tar of *files*."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()
