"""Templates: values in lines, lines of values, and at signs."""

from __future__ import annotations

import pytest

from buildonce.system import template


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("a @x@ b\n", {"x": "1"}, "a 1 b\n"),
        ("@@service @x@@@\n", {"x": "1"}, "@service 1@\n"),
        ("a\n@x@\nb\n", {"x": ""}, "a\nb\n"),
        ("a\n  @x@\nb\n", {"x": "1\n2"}, "a\n  1\n  2\nb\n"),
        ("@x@\n@y@\n", {"x": "", "y": "2"}, "2\n"),
        ("@x@ @y@\n", {"x": "@y@", "y": "@@"}, "@y@ @@\n"),
        ("who@example.org\n", {}, "who@example.org\n"),
    ],
)
def test_values(text: str, values: dict[str, str], expected: str) -> None:
    assert template.render(text, values) == expected


def test_what_nobody_gave_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        template.render("@x@", {})


def test_shipped_files_are_found() -> None:
    text = template.read("recipes", "systemd", "sysusers", values={"user": "ada", "gecos": "it", "name": "app"})
    assert text == 'u ada - "it" /var/lib/app\n'
