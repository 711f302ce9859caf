"""Long work that reports its progress and has a result."""

from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

Progress = TypeVar("Progress")
Result = TypeVar("Result")


class Work(Generic[Progress, Result]):
    """Iterates over what a generator yields, and keeps what it returns.

    `for` loses the result of a generator. `yield from` keeps it, but cannot change what it yields.
    """

    result: Result
    """Set once the iteration has ended"""

    def __init__(self, generator: Generator[Progress, None, Result]) -> None:
        self._generator = generator

    def __iter__(self) -> Iterator[Progress]:
        self.result = yield from self._generator
