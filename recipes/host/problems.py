"""What a step has to tell when it cannot do what it was asked to."""

from __future__ import annotations

from dataclasses import asdict, dataclass

VERIFICATION = "verification"  # a signature or a digest is wrong
GATE = "gate"  # it could be done, but the plan has to give a reason, or must not ask for it


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and what to do about it."""

    message: str
    hint: str = ""
    kind: str = ""

    def fields(self) -> dict[str, str]:
        """As it stands in the answer of a step."""
        return {key: value for key, value in asdict(self).items() if value or key != "kind"}


class Refused(Exception):  # noqa: N818 - it is not always an error: often it is an answer
    """The step ends here; *facts* go into its answer."""

    def __init__(self, message: str, hint: str = "", *, kind: str = "", **facts: object) -> None:
        super().__init__(message)
        self.problem = Problem(message, hint, kind)
        self.facts = facts
