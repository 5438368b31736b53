"""Bounds for the drawing page's connections: none stays for long without a request, and none locks others out.

uvicorn itself waits for ever for a connection's first request, and for the rest of one that has begun.
"""
import asyncio
from typing import Any

SECONDS_TO_ASK = 10       # from the opening of a connection, or the first byte of a later request, to its head's end
SECONDS_TO_FINISH = 120   # from there to the end of the answer, waiting for the model included


class Connections:
    """The open connections of a server: how many there may be, and which has to go for another.

    Where there is no room for a new one, that goes whose request has not come, or not all of it, for the longest time;
    those that are being answered stay.

    Args:
        most: of all.
        most_of_one: of one address.
    """

    def __init__(self, most: int, most_of_one: int):
        self.most, self.most_of_one = most, most_of_one
        self.open: dict[Any, str] = {}       # to their addresses
        self.waiting: dict[Any, None] = {}   # those without a whole request, in the order in which they began to wait

    def admit(self, connection: Any, address: str) -> bool:
        """Count a new connection, and close another one if need be; False where there is no room for it."""
        of_one = [other for other, its in self.open.items() if its == address]
        for crowd, most in ((of_one, self.most_of_one), (self.open, self.most)):
            if len(crowd) >= most:
                longest = next((other for other in self.waiting if other in crowd), None)
                if longest is None:
                    return False
                self.forget(longest)
                longest.transport.abort()
        self.open[connection] = address
        return True

    def wait(self, connection: Any) -> None:
        """The connection waits for a request from now on."""
        self.waiting.pop(connection, None)
        self.waiting[connection] = None

    def forget(self, connection: Any) -> None:
        """The connection is closed."""
        self.open.pop(connection, None)
        self.waiting.pop(connection, None)


def bounded_protocol(connections: Connections) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol, whose connections keep to these bounds and to the time limits above."""
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    class BoundedProtocol(AutoHTTPProtocol):   # type: ignore[misc,valid-type]
        limit: asyncio.TimerHandle | None = None

        def connection_made(self, transport) -> None:
            super().connection_made(transport)
            address = (transport.get_extra_info('peername') or ('',))[0]
            if not connections.admit(self, address):
                transport.abort()
                return
            connections.wait(self)
            self._close_after(SECONDS_TO_ASK)

        def data_received(self, data: bytes) -> None:
            was_answering = self._is_answering()
            super().data_received(data)
            if self.transport.is_closing():
                return
            if self._is_answering():
                if not was_answering:
                    self._close_after(SECONDS_TO_FINISH)
                if not self.cycle.more_body:   # until then, it may have to go for one that has more to say
                    connections.waiting.pop(self, None)
            elif self.limit is None:   # part of a head, or the rest of a body that is not wanted any more
                self._close_after(SECONDS_TO_ASK)

        def on_response_complete(self) -> None:
            self._cancel()   # uvicorn closes it after some seconds in which nothing comes
            if self in connections.open:
                connections.wait(self)
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel()
            connections.forget(self)
            super().connection_lost(exc)

        def _is_answering(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _close_after(self, seconds: float) -> None:
            self._cancel()
            self.limit = self.loop.call_later(seconds, self.transport.abort)

        def _cancel(self) -> None:
            if self.limit is not None:
                self.limit.cancel()
                self.limit = None

    return BoundedProtocol
