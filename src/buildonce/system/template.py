"""Fills in the templates of ``builders/`` and ``recipes/``: plain files, in which ``@name@`` stands for a value."""

from __future__ import annotations

import re
from textwrap import indent
from typing import TYPE_CHECKING

from buildonce.system import share

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["raw", "read", "render"]


def read(*parts: str, values: Mapping[str, str]) -> str:
    """The shipped file *parts*, such as ``"recipes", "systemd", "service"``, with *values*."""
    return render(raw(*parts), values)


def raw(*parts: str) -> str:
    """The shipped file *parts* as it is."""
    return share.path(*parts).read_text(encoding="utf-8")


def render(text: str, values: Mapping[str, str]) -> str:
    """*text* with *values*: ``@name@`` is one, ``@@`` an at sign.

    A line that is nothing but a value becomes as many lines as that has, indented alike: none for ``""``.
    """

    def lines(found: re.Match[str]) -> str:
        value = values[found[2]]
        return indent(f"{value}\n", found[1]) if value else ""

    # In one pass: what a value says is never read as a template.
    return re.sub(
        r"(?m)^([ \t]*)@([a-z]+)@\n|@@|@([a-z]+)@",
        lambda m: lines(m) if m[2] else values[m[3]] if m[3] else "@",
        text,
    )
