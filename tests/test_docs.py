"""The docs say what the program does: every option, key, link and command in them."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import click
import pytest
import yaml

from buildonce import config, errors
from buildonce.cli import COMMANDS
from buildonce.cli import command as release
from tests import pages
from tests.pages import PAGES, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = {"tutorial", "how-to", "reference", "explanation", "decisions"}


def _commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(release)
    for name in COMMANDS:
        found = release.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            for inner in found.list_commands(context):
                yield f"{name} {inner}", found.commands[inner]
        else:
            yield name, found


@pytest.mark.parametrize(("name", "command"), [*_commands()])
def test_every_command_and_option_is_in_the_manual(name: str, command: click.Command) -> None:
    text = (ROOT / "docs/reference/commands.md").read_text()
    sections = dict(re.findall(r"^## (release [^\n]+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    section = next((body for title, body in sections.items() if f"release {name}" in title), None)
    assert section is not None, f"release {name} has no section"
    common = text.split("\n## ")[0]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert any(f"`{option}" in section + common for option in parameter.opts), parameter.opts


def test_the_manual_has_no_option_that_is_gone() -> None:
    known = {option for _, command in _commands() for p in command.params for option in p.opts} | {"-h", "-vv"}
    text = (ROOT / "docs/reference/commands.md").read_text()
    assert {o.split()[0] for o in re.findall(r"`(--?[a-z-]+)", text)} - known == set()


def _keys(schema: dict[str, Any], table: dict[str, Any]) -> Iterator[str]:
    for key, value in table.get("properties", {}).items():
        yield key
        choices = (value, *value.get("anyOf", ()))
        tables = [one.get("additionalProperties", {}) for one in choices]
        kinds = [kind for one in tables if isinstance(one, dict) for kind in one.get("oneOf", ())]
        for inner in (*choices, *tables, *kinds):
            if isinstance(inner, dict) and "$ref" in inner:
                yield from _keys(schema, schema["$defs"][inner["$ref"].rsplit("/", 1)[1]])


def test_every_configuration_key_is_documented() -> None:
    schema = config.json_schema()
    text = _page("reference/configuration.md") + _page("reference/targets.md")
    tables = {"service", "build", "image", "sign", "publish", "environments", "up"}
    undocumented = [key for key in _keys(schema, schema) if key not in tables and f"| `{key}` |" not in text]
    assert undocumented == []
    assert [table for table in tables if f"[tool.release.{table}" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert dead == []


def test_docs_are_of_the_known_kinds() -> None:
    assert {path.name for path in (ROOT / "docs").iterdir() if path.is_dir()} == KINDS


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    queue = [ROOT / "README.md", ROOT / "docs/README.md", ROOT / "docs/decisions/README.md"]
    while queue:
        page = queue.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            place = (page.parent / link).resolve()
            if "://" not in link and place.exists():
                queue += sorted(place.glob("*.md")) if place.is_dir() else [place]
    assert [str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md") if page not in seen] == []


def test_one_word_stands_in_four_places() -> None:
    """A format: its folder for the build root, its module, its test, its page."""
    modules = {p.stem for p in (ROOT / "src/buildonce/builders").glob("*.py")} - {"__init__", "interface", "registry"}
    formats = {name for name in modules if not name.startswith("_")}
    assert formats == {"wheel", "pex", "deb", "oci"}
    for name in formats:
        for place in (f"builders/{name}", f"tests/builders/test_{name}.py", f"docs/reference/builders/{name}.md"):
            assert (ROOT / place).exists(), place


def test_no_page_names_a_registry_host() -> None:
    """Index and mirror are the user's; hosts are spelled in parts here so that this test does not name them."""
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "deb.debian" + ".org", "registry.npmjs" + ".org"]
    tracked = [p for folder in ("src", "builders", "docs", "examples", "tests") for p in (ROOT / folder).rglob("*")]
    texts = (p for p in tracked if p.is_file() and p.suffix in {".py", ".md", ".toml", ".sh", ".txt", ""})
    named = [str(p) for p in texts for h in hosts if h in p.read_text(errors="replace") and "lock" not in p.name]
    assert named == []


COVERED = {
    # Commands in `console` blocks → the test that runs them, or what CI runs.
    "./dev demo": "tests/integration/test_docs_commands.py::test_a_newcomer_sees_the_demo",
    "./dev test": ".ci/run",
    "release builder shell": "tests/integration/test_builder.py::test_a_shell_on_a_terminal",
    "docker load -i": "tests/builders/test_oci.py::test_docker_sees_the_names_the_labels_and_the_identity",
    "podman load -i": "tests/builders/test_oci.py::test_podman_loads_it",
    "release lock": "tests/integration/test_architectures.py::hello",
    "reprepro": "tests/integration/test_publish.py::test_reprepro_and_aptly_keep_the_bytes",
    "aptly": "tests/integration/test_publish.py::test_reprepro_and_aptly_keep_the_bytes",
    "release bundle dist/": "tests/integration/test_docs_commands.py::test_a_page",  # docs/how-to/carry.md
    "release publish dist/": "tests/integration/test_docs_commands.py::test_a_page",  # docs/how-to/publish.md
    "release promote": "tests/integration/test_docs_commands.py::test_a_page",  # docs/how-to/publish.md
    "release up": "tests/integration/test_up.py::test_the_image_with_a_database",
    "release down": "tests/integration/test_up.py::test_the_image_with_a_database",
    "docker logs release-": "tests/integration/test_up.py::test_the_image_with_a_database",
    "docker exec -it -u postgres": "tests/integration/test_up.py::test_the_image_with_a_database",
    "docker exec release-": "tests/integration/test_up.py::test_the_deb_by_the_recipe_of_production",
    "release build": "tests/integration/test_architectures.py::made",
    "skopeo copy --all": "tests/integration/test_architectures.py::test_pushed_whole_every_image_keeps_its_digest",
    "cosign verify": "tests/integration/test_publish_registry.py::follow",
    "echo '{": "tests/integration/test_publish_registry.py::follow",
    "skopeo copy": "tests/builders/test_oci.py::test_skopeo_copies_it",
    "./orders-1.4.0-debian-12.pex serve": "tests/integration/test_offline_pex.py::test_it_serves",
    "cp bookworm-staging": "tests/integration/test_apt_hosts.py::test_a_host_that_knows_nothing_else",
    "apt update": "tests/integration/test_apt_hosts.py::test_a_host_that_knows_nothing_else",
    "apt install orders=": "tests/integration/test_apt_hosts.py::test_a_host_that_knows_nothing_else",
    "sh install.sh ../": "tests/integration/test_recipes.py::test_installed_replaced_refused_and_brought_back",
    "sh install.sh --back": "tests/integration/test_recipes.py::test_installed_replaced_refused_and_brought_back",
    "python3 switch.py": "tests/integration/test_recipes.py::test_users_notice_nothing",
    "sh deploy.sh overlays/staging": "tests/recipes/test_kubernetes.py::deploy",
    "release deploy": "tests/integration/test_deploy.py::test_its_life",
    "release rollback": "tests/integration/test_deploy.py::test_its_life",
    "python3 /var/lib/release/": "tests/integration/deploying.py::status",
    "PEX_TOOLS=1": "tests/integration/test_docs_commands.py::test_pex_installs_without_running",
}
LANGUAGES = {"sh", "console", "toml", "yaml", "ini", "text"}
MANUAL = [page for page in PAGES if page.parent != ROOT or page.name == "README.md"]
BLOCKS = [(page, block) for page in MANUAL for block in pages.blocks(page)]


def _of(language: str) -> list[Any]:
    found = ((page, block) for page, block in BLOCKS if block.language == language)
    return [pytest.param(block.text, id=f"{pages.name(page)}:{block.line}") for page, block in found]


def test_every_block_says_what_it_is() -> None:
    unknown = [f"{pages.name(page)}:{b.line}: {b.language!r}" for page, b in BLOCKS if b.language not in LANGUAGES]
    assert unknown == []


def test_commands_are_in_blocks_that_are_run() -> None:
    """A ``text`` block is what something printed; the one with a prompt is the picture in the README."""
    prompts = [f"{pages.name(page)}:{b.line}" for page, b in BLOCKS if b.language == "text" and b.text.startswith("$ ")]
    assert [place.split(":")[0] for place in prompts] == ["README.md"]


@pytest.mark.parametrize("text", _of("console"))
def test_a_test_runs_every_console_line(text: str) -> None:
    lines = [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]
    assert lines, "a console block shows commands behind a prompt"
    for line in lines:
        place = next((place for start, place in COVERED.items() if line.startswith(start)), "")
        path, _, test = place.partition("::")
        assert place, f"no test runs {line}"
        wanted = f"def {test}(" if test else line.partition("  ")[0]
        assert wanted in (ROOT / path).read_text("utf-8"), f"{place}, which runs {line}, is gone"


@pytest.mark.parametrize("text", _of("sh"))
def test_shell_is_shell(text: str) -> None:
    said = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True, check=False)
    assert said.returncode == 0, said.stderr


@pytest.mark.parametrize("text", _of("toml"))
def test_configuration_is_valid(text: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(text.replace("sha256:…", f"sha256:{'0' * 64}"))
    assert config.read_toml(tmp_path / "pyproject.toml")["tool"]["release"]
    config.read(tmp_path)


@pytest.mark.parametrize("text", _of("yaml"))
def test_yaml_is_yaml(text: str) -> None:
    assert isinstance(yaml.safe_load(text), dict)


def _mentioned() -> Iterator[Any]:
    """Every ``release …`` on every page: in code within a line, and in the lines of blocks."""
    for page in PAGES:
        text = page.read_text("utf-8")
        spans = re.findall(r"`(release [a-z][^`]*)`", text)
        code = [block for its, block in BLOCKS if its == page and block.language in {"sh", "console", "yaml"}]
        spans += [said for block in code for said in re.findall(r"(?<![\w./-])release [a-z]+\b.*", block.text)]
        for span in dict.fromkeys(spans):
            yield pytest.param(span, id=f"{pages.name(page)}: {span[:50]}")


@pytest.mark.parametrize("span", [*_mentioned()])
def test_what_is_said_about_commands_is_so(span: str) -> None:
    words = re.sub(r"\s#.*|[|&;>)].*", "", span).split()[1:]
    commands = dict(_commands())
    name = " ".join(words[:2]) if " ".join(words[:2]) in commands else words[0]
    assert name in commands or name == "key", span
    if name in commands:
        known = {option for parameter in commands[name].params for option in parameter.opts} | {"-h"}
        assert {word for word in words if word.startswith("-")} - known == set(), span


def test_exit_codes_are_those_of_the_errors() -> None:
    rows = {int(code) for code in re.findall(r"^\| (\d+) \|", _page("reference/exit-codes.md"), re.MULTILINE)}
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.ReleaseError)]
    assert rows == {0, 2, 130} | {one.exit_code for one in classes}


def test_every_variable_of_the_environment_is_documented() -> None:
    read = re.compile(r"""["'`]((?:BUILDONCE|RELEASE)_[A-Z_]+)["'`]""")
    known = {name for path in (ROOT / "src").rglob("*.py") for name in read.findall(path.read_text("utf-8"))}
    said = set(re.findall(r"^\| `([A-Z_]+)`", _page("reference/environment.md"), re.MULTILINE))
    assert {name for name in said if name.startswith(("BUILDONCE_", "RELEASE_"))} == known
    every = {n for page in PAGES for n in re.findall(r"\b(?:BUILDONCE|RELEASE)_[A-Z_]+\b", page.read_text("utf-8"))}
    assert every - known == {"RELEASE_KEY_FILE"}  # a name of the user's, in an example for CI


def test_messages_that_a_page_explains_are_said() -> None:
    """The table in build-in-ci.md: each message is in the source."""
    table = _page("how-to/build-in-ci.md").split("| message |")[1]
    messages = re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)
    source = "".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    assert messages
    assert [message for message in messages if message not in source] == []


def _page(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")
