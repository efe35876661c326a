"""What tables of configuration are made of: models that refuse unknown keys, and texts that match as a whole."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from annotated_types import GroupedMetadata
from pydantic import AfterValidator, BaseModel, ConfigDict, WithJsonSchema

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Matching", "Table", "schema"]


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


class Table(BaseModel):
    """A table that cannot be changed once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
