"""Limit the time and the number of connections to the drawing page, so that idle connections cannot block others.

uvicorn itself has no timeout for the first request of a connection, nor for the remainder of an incomplete request.
"""
import asyncio
from typing import Any

HEADERS_TIMEOUT = 10     # seconds from connecting, or from the first byte of a later request, to the end of its headers
RESPONSE_TIMEOUT = 120   # seconds from there to the end of the response, including the wait for the model


class Connections:
    """The open connections of a server, limited in total and per client address.

    When a limit is reached, a new connection replaces the one that has been waiting for a complete request for the
    longest time. Connections whose request is being processed are never replaced.

    Args:
        limit: the maximum number of connections.
        limit_per_address: the maximum number of connections from one address.

    Attributes:
        open: the address of each open connection.
        waiting: the connections without a complete request, longest wait first; a dict is used as an ordered set.
    """

    def __init__(self, limit: int, limit_per_address: int):
        self.limit, self.limit_per_address = limit, limit_per_address
        self.open: dict[Any, str] = {}
        self.waiting: dict[Any, None] = {}

    def admit(self, connection: Any, address: str) -> bool:
        """Register a new connection, closing a waiting one if a limit is reached.

        Returns:
            False if a limit is reached and no connection can be closed, so that the new one must be rejected.
        """
        same_address = [other for other, its_address in self.open.items() if its_address == address]
        for group, limit in ((same_address, self.limit_per_address), (self.open, self.limit)):
            if len(group) >= limit:
                longest = next((other for other in self.waiting if other in group), None)
                if longest is None:
                    return False
                self.remove(longest)
                longest.transport.abort()
        self.open[connection] = address
        return True

    def start_waiting(self, connection: Any) -> None:
        """Mark a connection as waiting for a request from now on."""
        self.waiting.pop(connection, None)
        self.waiting[connection] = None

    def remove(self, connection: Any) -> None:
        """Remove a connection that is closed."""
        self.open.pop(connection, None)
        self.waiting.pop(connection, None)


def bounded_protocol(connections: Connections) -> type[asyncio.Protocol]:
    """Return a subclass of uvicorn's HTTP protocol that enforces the limits of `connections` and the time limits."""
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    class BoundedProtocol(AutoHTTPProtocol):   # type: ignore[misc,valid-type]
        timeout: asyncio.TimerHandle | None = None

        def connection_made(self, transport) -> None:
            super().connection_made(transport)
            address = (transport.get_extra_info('peername') or ('',))[0]
            if not connections.admit(self, address):
                transport.abort()
                return
            connections.start_waiting(self)
            self._close_after(HEADERS_TIMEOUT)

        def data_received(self, data: bytes) -> None:
            was_answering = self._is_answering()
            super().data_received(data)
            if self.transport.is_closing():
                return
            if self._is_answering():
                if not was_answering:
                    self._close_after(RESPONSE_TIMEOUT)
                if not self.cycle.more_body:   # while the body is incomplete, it may still be replaced
                    connections.waiting.pop(self, None)
            elif self.timeout is None:   # incomplete headers, or the rest of a body whose response is complete
                self._close_after(HEADERS_TIMEOUT)

        def on_response_complete(self) -> None:
            self._cancel_timeout()   # uvicorn closes idle keep-alive connections itself
            if self in connections.open:
                connections.start_waiting(self)
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel_timeout()
            connections.remove(self)
            super().connection_lost(exc)

        def _is_answering(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _close_after(self, seconds: float) -> None:
            self._cancel_timeout()
            self.timeout = self.loop.call_later(seconds, self.transport.abort)

        def _cancel_timeout(self) -> None:
            if self.timeout is not None:
                self.timeout.cancel()
                self.timeout = None

    return BoundedProtocol
