"""The docs say what the program does: every option, key, link and command in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from buildonce import config
from buildonce.cli import COMMANDS
from buildonce.cli import command as release

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/README.md")])
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
        for inner in (value, *value.get("anyOf", ()), value.get("additionalProperties", {})):
            if isinstance(inner, dict) and "$ref" in inner:
                yield from _keys(schema, schema["$defs"][inner["$ref"].rsplit("/", 1)[1]])


def test_every_configuration_key_is_documented() -> None:
    schema = config.json_schema()
    text = (ROOT / "docs/reference/configuration.md").read_text()
    tables = {"service", "build", "image", "sign"}
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
