"""What tables of configuration are made of: models that refuse unknown keys, and texts that match as a whole."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from annotated_types import GroupedMetadata
from pydantic import AfterValidator, BaseModel, ConfigDict, WithJsonSchema

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "USER",
    "AbsolutePath",
    "Credential",
    "Matching",
    "Package",
    "Program",
    "Table",
    "User",
    "Value",
    "Variable",
    "schema",
]


def schema(pattern: str) -> dict[str, str]:
    """The JSON schema of a text that matches *pattern* as a whole."""
    return {"type": "string", "pattern": f"^(?:{pattern})$"}


@dataclass(frozen=True, slots=True)
class Matching(GroupedMetadata):
    """A text that matches *pattern* as a whole; *what* says so in words, the schema has the pattern."""

    pattern: str
    what: str

    def __iter__(self) -> Iterator[object]:
        yield AfterValidator(self._check)
        yield WithJsonSchema(schema(self.pattern))

    def _check(self, value: str) -> str:
        if re.fullmatch(self.pattern, value) is None:
            raise ValueError(f"is not {self.what}")
        return value


# Texts that several tables have.
Credential = Annotated[str, Matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", "a file name of letters, digits, ., - and _")]
AbsolutePath = Annotated[
    str,
    Matching(r"(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._@+-]+)+", "an absolute path of plain characters, without . and .."),
]
Package = Annotated[str, Matching(r"[a-z0-9][a-z0-9+.-]+", "the name of a Debian package")]
Program = Annotated[str, Matching(r"[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*", "a program and its arguments on one line")]
USER: Final = r"[a-z_][a-z0-9_-]{0,30}"  # useradd(8), sysusers.d(5)
User = Annotated[str, Matching(USER, "a system user's name: up to 31 of a-z, 0-9, _ and -, a letter or _ first")]
Variable = Annotated[str, Matching(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")]
Value = Annotated[str, Matching(r"[^\x00-\x1f\x7f\"\\]*", "a value on one line without double quotes and backslashes")]


class Table(BaseModel):
    """A table that cannot be changed once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
