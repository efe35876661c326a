"""Unit files: what stands in them for each form, that systemd finds them sound, and how far they are confined."""

from __future__ import annotations

import itertools
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from buildonce import units
from buildonce.service import Service
from tests.builders import small_stage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ID = f"sha256:{'5' * 64}"
FACTS = units.Facts(name="tinyapp", synopsis='a "100%" service', documentation="https://example.org/%7Eada", image=ID)
PLAIN: Mapping[str, Any] = {
    "command": "tinyapp serve --fast",
    "migrate": "tinyapp-admin migrate",
    "port": 8080,
    "environment": {"RATE": "50% of $x", "COLOUR": "blue"},
    "writable": ["/var/lib/shared/tiny", "/var/cache/tinyapp", "/srv/files"],
}
EVERYTHING: Mapping[str, Any] = {
    **PLAIN,
    "notify": True,
    "socket": True,
    "credentials": ["db-url", "mail.key"],
    "resources": {"memory": "512M", "tasks": 128, "cpu": "150%"},
}


def service(settings: Mapping[str, Any] = PLAIN) -> Service:
    return Service.model_validate(settings)


def lines(text: str, key: str) -> list[str]:
    return re.findall(rf"(?m)^{key}=(.*)$", text)


def texts(settings: Mapping[str, Any]) -> dict[str, str]:
    """Every unit that can be rendered, by a name."""
    said = service(settings)
    forms: tuple[Any, ...] = ("deb", "pex", "wheelhouse")
    return {
        **{form: units.service(said, FACTS, form) for form in forms},
        "docker": units.container(said, FACTS, "docker"),
        "blue": units.container(said, FACTS, "docker", colour=True),
        "podman": units.container(said, FACTS, "podman"),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of units for systemd-analyze, with what they ask for."""
    (tmp_path / "docker.service").write_text("[Service]\nExecStart=/bin/true\n")
    (tmp_path / "tinyapp.socket").write_text(units.socket(service(EVERYTHING), FACTS))
    return tmp_path


def placed(folder: Path, name: str, text: str) -> Path:
    place = folder / ("tinyapp@.service" if name == "blue" else "tinyapp.service")
    # what is installed on the hosts only
    place.write_text(re.sub(r"/(?:opt/[\w/.-]+|usr/bin/(?:docker|podman))(?= )", "/bin/true", text))
    return place


@pytest.mark.parametrize("settings", [PLAIN, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("name", ["deb", "pex", "wheelhouse", "docker", "blue", "podman"])
class TestBySystemd:
    def test_every_unit_is_sound(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        place = placed(folder, name, texts(settings)[name])
        said = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", place], capture_output=True, text=True, check=False
        )
        assert (said.returncode, said.stderr) == (0, "")

    def test_every_unit_is_confined(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        if name == "podman":  # it makes the container itself: the options of the container confine, not the unit
            assert "--cap-drop ALL" in texts(settings)[name]
            return
        place = placed(folder, name, texts(settings)[name])
        gate = ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(place)]
        said = subprocess.run(gate, capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stdout[-200:]


def test_the_gate_closes(tmp_path: Path) -> None:
    (tmp_path / "bare.service").write_text("[Service]\nExecStart=/bin/true\n")
    gate = ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(tmp_path / "bare.service")]
    assert subprocess.run(gate, capture_output=True, check=False).returncode == 1


class TestOnTheHost:
    @pytest.mark.parametrize(
        ("form", "start"),
        [
            ("deb", "/opt/venvs/tinyapp/bin/tinyapp serve --fast"),
            ("wheelhouse", "/opt/tinyapp/current/venv/bin/tinyapp serve --fast"),
            ("pex", "/usr/bin/env PEX_SCRIPT=tinyapp /opt/tinyapp/current/tinyapp.pex serve --fast"),
        ],
    )
    def test_it_runs_what_the_form_has(self, form: Any, start: str) -> None:
        assert lines(units.service(service(), FACTS, form), "ExecStart") == [start]

    def test_only_the_deb_migrates_by_itself(self) -> None:
        found = texts(PLAIN)
        assert lines(found["deb"], "ExecStartPre") == ["/opt/venvs/tinyapp/bin/tinyapp-admin migrate"]
        assert [lines(found[form], "ExecStartPre") for form in ("pex", "wheelhouse")] == [[], []]
        assert "migrate" not in found["docker"] + found["podman"] + found["blue"]

    def test_a_command_without_arguments(self) -> None:
        assert units.command("tinyapp", "run", "pex") == "/usr/bin/env PEX_SCRIPT=run /opt/tinyapp/current/tinyapp.pex"

    def test_a_pex_unpacks_itself_to_a_folder_that_it_may_write(self) -> None:
        text = units.service(service({"command": "tinyapp"}), FACTS, "pex")
        assert "PEX_ROOT=/var/cache/tinyapp/pex" in lines(text, "Environment")
        assert lines(text, "CacheDirectory") == ["tinyapp"]

    def test_nothing_is_asked_for_that_was_not_configured(self) -> None:
        text = units.service(service(), FACTS, "deb")
        absent = ("NotifyAccess", "LoadCredential", "MemoryMax", "TasksMax", "CPUQuota", "Requires")
        assert [lines(text, key) for key in absent] == [[]] * len(absent)
        assert lines(text, "Type") == ["exec"]

    def test_options(self) -> None:
        text = units.service(service(EVERYTHING), FACTS, "wheelhouse")
        assert (lines(text, "Type"), lines(text, "NotifyAccess")) == (["notify"], ["main"])
        assert lines(text, "LoadCredential") == [
            "db-url:/etc/tinyapp/credentials/db-url",
            "mail.key:/etc/tinyapp/credentials/mail.key",
        ]
        assert [lines(text, key) for key in ("MemoryMax", "TasksMax", "CPUQuota")] == [["512M"], ["128"], ["150%"]]
        assert lines(text, "Requires") == ["tinyapp.socket"]
        assert lines(units.socket(service(EVERYTHING), FACTS), "ListenStream") == ["8080"]

    def test_signs_that_systemd_reads_are_escaped(self) -> None:
        text = units.service(service(), FACTS, "deb")
        assert lines(text, "Description") == ['a "100%%" service']
        assert lines(text, "Documentation") == ["https://example.org/%%7Eada"]
        assert '"RATE=50%% of $x"' in lines(text, "Environment")
        assert units.sysusers(service(), FACTS) == "u tinyapp - \"a '100%%' service\" /var/lib/tinyapp\n"

    def test_without_a_page_there_is_no_line_about_it(self) -> None:
        assert "Documentation" not in units.service(service(), units.Facts(name="tinyapp"), "deb")


class TestInAContainer:
    def test_it_runs_the_image_by_its_id_and_never_pulls(self) -> None:
        run = _run(units.container(service(), FACTS, "docker"))
        assert run[-1] == ID
        assert run[run.index("--pull") + 1] == "never"
        assert run[run.index("--publish") + 1] == "8080:8080"
        assert "--memory" not in run
        assert "--init" not in run

    def test_an_image_without_an_init_of_its_own_gets_one(self) -> None:
        facts = units.Facts(name="tinyapp", image=ID, tini=False)
        assert "--init" in _run(units.container(service(), facts, "docker"))

    def test_limits(self) -> None:
        run = _run(units.container(service(EVERYTHING), FACTS, "podman"))
        assert [run[run.index(key) + 1] for key in ("--memory", "--pids-limit", "--cpus")] == ["512m", "128", "1.5"]

    def test_folders_are_volumes_of_their_own(self) -> None:
        run = _run(units.container(service(), FACTS, "docker"))
        volumes = [after for before, after in itertools.pairwise(run) if before == "--volume"]
        assert volumes == [
            "tinyapp:/var/lib/tinyapp",
            "tinyapp-var-lib-shared-tiny:/var/lib/shared/tiny",
            "tinyapp-var-cache-tinyapp:/var/cache/tinyapp",
            "tinyapp-srv-files:/srv/files",
        ]

    def test_no_value_stands_in_a_command_line(self) -> None:
        for name in ("docker", "blue", "podman"):
            text = texts(EVERYTHING)[name]
            assert "50%" not in text
            assert re.findall(r"--env[ =](\S+)", text) == ["CREDENTIALS_DIRECTORY=/run/credentials/tinyapp"]

    def test_colours_run_side_by_side_and_only_this_host_reaches_them(self) -> None:
        text = units.container(service(), FACTS, "docker", colour=True)
        run = _run(text)
        assert run[run.index("--name") + 1] == "tinyapp-%i"
        assert run[run.index("--publish") + 1] == "127.0.0.1:${PORT}:8080"
        assert run[-1] == "${IMAGE}"
        assert "/etc/tinyapp/%i.env" in lines(text, "EnvironmentFile")


def _run(text: str) -> list[str]:
    (found,) = re.findall(r"(?m)^ExecStart=([^\\\n]*(?:\\\n[^\\\n]*)+)", text)
    return str(found).replace("\\\n", " ").split()


class TestFiles:
    def test_of_each_form(self) -> None:
        unit, user, socket = (
            "/etc/systemd/system/tinyapp.service",
            "/etc/sysusers.d/tinyapp.conf",
            "/etc/systemd/system/tinyapp.socket",
        )
        assert units.files(service(), FACTS, "deb") == {}
        assert set(units.files(service(), FACTS, "pex")) == {unit, user}
        assert set(units.files(service(EVERYTHING), FACTS, "wheelhouse")) == {unit, user, socket}
        assert set(units.files(service(EVERYTHING), FACTS, "oci", "podman")) == {unit}
        assert "/usr/bin/podman run" in units.files(service(), FACTS, "oci", "podman")[unit]

    def test_facts_come_from_the_project(self, tmp_path: Path) -> None:
        project = small_stage.bare(tmp_path, settings={"image": {"base": "base.tar"}}).project
        facts = units.Facts.of(project, image=ID)
        assert facts == units.Facts(
            name="tinyapp",
            synopsis="tiny application for tests",
            documentation="https://tinyapp.example.org/",
            image=ID,
            tini=False,
        )
