"""Questions to a destination, several at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["answers"]

_AT_ONCE: Final = 8

_Thing = TypeVar("_Thing")
_Said = TypeVar("_Said")


def answers(question: Callable[[_Thing], _Said], things: Iterable[_Thing], *, stop: Callable[[], None]) -> list[_Said]:
    """What *question* answers for each of *things*, in their order. *stop* ends the questions that are under way: it is
    called when somebody wants it to end now, and not for an error, after which another try may come.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            return [*pool.map(question, things)]
        except BaseException as error:
            if not isinstance(error, Exception):
                stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
