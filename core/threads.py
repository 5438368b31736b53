"""Background threads: calls that overlap with computation, and prefetching."""
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class BackgroundCalls:
    """Runs calls in background threads; a context manager that waits for them at its end.

    The first exception of a call is raised by a later `call` or at the end of the `with` block. An exception in the
    block itself cancels the calls that have not begun.

    Args:
        workers: number of threads. With 0, `call` runs the function itself.
        most: number of pending calls at which `call` waits for the oldest one.
    """

    def __init__(self, workers: int, most: int):
        self.pool = ThreadPoolExecutor(workers) if workers else None
        self.most = most
        self.pending: deque[Future] = deque()

    def call(self, function: Callable[..., None], *arguments) -> None:
        if self.pool is None:
            function(*arguments)
            return
        while self.pending and (self.pending[0].done() or len(self.pending) >= self.most):
            self.pending.popleft().result()
        self.pending.append(self.pool.submit(function, *arguments))

    def __enter__(self) -> 'BackgroundCalls':
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        try:
            while self.pending and kind is None:
                self.pending.popleft().result()
        finally:
            if self.pool:
                self.pool.shutdown(cancel_futures=True)


def prefetch(function: Callable[[Any], Any], items: Iterable, workers: int, ahead: int) -> Iterator:
    """Like `map(function, items)`, but threads compute up to `ahead` results before they are requested.

    The thread that iterates also iterates over `items`. With 0 workers it computes everything itself, on request.
    """
    if not workers:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(workers)
    pending: deque[Future] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
