"""Background threads: calls that overlap with computation, and reading ahead."""
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class BackgroundCalls:
    """Calls that background threads make while the main thread continues; when `most` are pending, it waits for one.

    The first error of a call is raised by a later `call` or at the end of the `with` block; an error in the block
    itself drops the calls that have not begun. Without workers, calls are made at once.
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
    """What `function` makes of each item, in their order, `ahead` of them made by threads before they are asked for.

    Items are taken by the thread that iterates. Without workers, it does all itself, when asked.
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
