"""What a container runs and with which environment, and which layer a file goes to."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

from buildonce.config import Settings
from buildonce.errors import ConfigurationError
from buildonce.model import Digest, Entry, Tree
from buildonce.oci import application, configuration
from buildonce.oci.application import Share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from buildonce.oci.configuration import Process

BIN = "opt/venvs/shop/bin"
SERVICE: dict[str, Any] = {"command": "shop serve --quiet", "port": 8000, "health": "/well?deep=1"}


def share(*entries: Entry) -> Share:
    found = (
        Entry(path=f"{BIN}/python", kind="link", link="/usr/bin/python3.11"),
        Entry(path=f"{BIN}/shop", kind="script", dist="shop"),
        Entry(path=f"{BIN}/uvicorn", kind="script", dist="uvicorn"),
        *entries,
    )
    return Share(
        name="shop",
        prefix=PurePosixPath("/opt/venvs/shop"),
        own="shop",
        tree=Tree(entries=found),
        root=Path("/none"),
    )


def process(settings: dict[str, Any], *, scripts: Sequence[str] = ("shop",), tini: bool = True, **base: str) -> Process:
    return application.process(
        share(),
        settings=Settings.model_validate(settings),
        scripts=scripts,
        interpreter=PurePosixPath("/usr/bin/python3.11"),
        environment=base,
        has_tini=tini,
        labels={},
    )


def test_a_service() -> None:
    found = process({"service": SERVICE})
    assert found.entrypoint == ("/usr/bin/tini", "--", "/opt/venvs/shop/bin/shop", "serve", "--quiet")
    assert found.port == 8000
    assert found.folder == "/var/lib/shop"
    assert found.health[-1] == "http://127.0.0.1:8000/well?deep=1"
    assert found.health[0] == "/usr/bin/python3.11"


def test_a_script_of_a_dependency_may_be_the_command() -> None:
    found = process({"service": {"command": "uvicorn shop:app"}})
    assert found.entrypoint[2:] == ("/opt/venvs/shop/bin/uvicorn", "shop:app")


def test_without_tini_the_command_is_the_first_process() -> None:
    assert process({}, tini=False).entrypoint == ("/opt/venvs/shop/bin/shop",)


@pytest.mark.parametrize(
    ("scripts", "settings", "expected"),
    [
        (("shop",), {}, ["shop"]),
        (("other",), {}, ["other"]),
        (("admin", "shop"), {}, ["shop"]),
        ((), {}, ["python"]),
        (("a", "b"), {"command": "shop --all"}, ["shop", "--all"]),
    ],
)
def test_what_runs_when_there_is_no_service(
    scripts: tuple[str, ...], settings: dict[str, Any], expected: list[str]
) -> None:
    first, *rest = expected
    assert process(settings, scripts=scripts).entrypoint[2:] == (f"/opt/venvs/shop/bin/{first}", *rest)


def test_several_scripts_could_be_meant() -> None:
    with pytest.raises(ConfigurationError, match="could run any of a, b") as raised:
        process({}, scripts=("a", "b"))
    assert 'command = "a"' in raised.value.problems[0].hint


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(ConfigurationError, match="'shopp' is no script") as raised:
        process({"service": {"command": "shopp serve"}})
    assert "shop" in raised.value.problems[0].hint


def test_the_environment_is_sorted_and_the_service_has_the_last_word() -> None:
    settings = {"service": {**SERVICE, "environment": {"LANG": "C", "A": "1"}}}
    config = configuration.container(process(settings, PATH="/weird", B="2"))
    assert config["Env"] == sorted(config["Env"])
    assert {"LANG=C", "A=1", "B=2", "PYTHONUNBUFFERED=1"} <= set(config["Env"])
    assert next(line for line in config["Env"] if line.startswith("PATH=")).startswith("PATH=/opt/venvs/shop/bin:")


def test_nobody_is_root_and_the_service_can_be_stopped() -> None:
    config = configuration.container(process({"service": SERVICE}))
    assert config["User"] == "65532:65532"
    assert config["StopSignal"] == "SIGTERM"
    assert config["ExposedPorts"] == {"8000/tcp": {}}
    assert "Cmd" not in config


def test_no_port_no_health_check() -> None:
    config = configuration.container(process({"service": {"command": "shop work"}}))
    assert "Healthcheck" not in config
    assert "ExposedPorts" not in config


def test_layers_from_the_heaviest_to_the_application() -> None:
    heavy = [
        Entry(path=f"lib/{n}", size=(n % 4 + 2) << 20, sha256=Digest("0" * 64), dist=f"heavy{n}") for n in range(10)
    ]
    given = share(*heavy, Entry(path="lib/light", size=5, dist="light"))
    titles = [plan.title for plan in application.plans(given, ())]
    assert titles == [
        *("heavy3", "heavy7", "heavy2", "heavy6", "heavy1", "heavy5", "heavy9", "heavy0"),
        "dependencies",
        "application",
    ]


def test_the_key_of_the_application_follows_what_is_added(tmp_path: Path) -> None:
    def key(sbom: bytes, folder: Path) -> str:
        (folder / "sbom").write_bytes(sbom)
        return application.plans(share(), application.extras(None, "shop", folder / "sbom"))[-1].key

    assert key(b"1", tmp_path) != key(b"2", tmp_path)
    assert key(b"1", tmp_path) == key(b"1", tmp_path)


def test_folders_of_the_service_belong_to_its_user() -> None:
    service = Settings.model_validate({"service": {**SERVICE, "writable": ["/srv/shop"]}}).service
    found = {m.path: (m.mode, m.owner) for m in application.extras(service, "shop", Path("/none")) if m.is_folder}
    assert found == {"var/lib/shop/": (0o750, 65532), "srv/shop/": (0o750, 65532)}


@pytest.mark.parametrize(
    ("debian", "expected"), [("amd64", ("amd64", "")), ("armhf", ("arm", "v7")), ("i386", ("386", ""))]
)
def test_architectures_have_the_names_of_go(debian: str, expected: tuple[str, str]) -> None:
    assert configuration.architecture(debian) == expected


def test_times_are_utc() -> None:
    assert configuration.timestamp(1_700_000_000) == "2023-11-14T22:13:20Z"
