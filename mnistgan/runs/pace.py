"""How often to repeat work whose cost is not known in advance."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Pace:
    """Repeat work every few seconds, or less often if it would take too much of the time."""

    def __init__(self, seconds: float, share: float) -> None:
        """seconds: the minimum interval. share: the maximum share of the time for the work."""
        self.seconds = seconds
        self.share = share
        self.due_at = time.monotonic()
        self.last_cost = 0.0

    def due(self) -> bool:
        return time.monotonic() >= self.due_at

    @contextmanager
    def work(self) -> Iterator[None]:
        """Measure the work inside the block and put off the next one accordingly."""
        started_at = time.monotonic()
        yield
        now = time.monotonic()
        # A single slow time, such as the first, is an exception. Two in a row are not.
        usual_cost = min(self.last_cost, now - started_at)
        self.last_cost = now - started_at
        self.due_at = now + max(self.seconds, usual_cost / self.share)
