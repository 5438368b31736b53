"""Connections to the drawing page that send nothing or never finish are closed, and do not block others."""
import http.client
import socket
import threading
import time
from importlib.util import find_spec

import pytest

from extras.demo import connections as bounds
from extras.demo.connections import Connections, bounded_protocol

pytestmark = pytest.mark.skipif(not find_spec('uvicorn'), reason='requirements/demo.txt')
MOST, MOST_OF_ONE = 40, 20
HALF_OPEN = {
    'silent': b'',
    'half a request line': b'GET / HT',
    'half a head': b'GET / HTTP/1.1\r\nHost: localhost\r\nX-',
    'half a body': b'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc',
    'a body without its end': b'POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n',
}


@pytest.fixture
def server(monkeypatch):
    """Port and connection registry of a server that reads request bodies."""
    import uvicorn
    monkeypatch.setattr(bounds, 'HEADERS_TIMEOUT', 0.6)
    monkeypatch.setattr(bounds, 'RESPONSE_TIMEOUT', 1.2)

    async def app(scope, receive, send):
        more = scope['method'] == 'POST'
        while more:
            message = await receive()
            if message['type'] == 'http.disconnect':
                return
            more = message.get('more_body')
        await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'2')]})
        await send({'type': 'http.response.body', 'body': b'ok'})

    connections = Connections(MOST, MOST_OF_ONE)
    running = uvicorn.Server(uvicorn.Config(app, log_level='error', lifespan='off', timeout_graceful_shutdown=1,
                                            http=bounded_protocol(connections)))
    with socket.create_server(('127.0.0.1', 0)) as listener:
        thread = threading.Thread(target=running.run, kwargs={'sockets': [listener]})
        thread.start()
        while not running.started:
            time.sleep(0.01)
        yield listener.getsockname()[1], connections
        running.should_exit = True
        thread.join()


def ask(port: int) -> tuple[int, float]:
    """The status of a request, and its duration in seconds."""
    begin = time.monotonic()
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=10)
    connection.request('GET', '/')
    status = connection.getresponse().status
    connection.close()
    return status, time.monotonic() - begin


def is_closed(opened: socket.socket) -> bool:
    opened.settimeout(5)
    try:
        while received := opened.recv(4096):   # a status, such as 400
            assert received.startswith(b'HTTP/1.1 ')
        return True
    except ConnectionError:
        return True


@pytest.mark.parametrize('sent', HALF_OPEN.values(), ids=HALF_OPEN)
def test_150_half_open_connections_block_nobody_and_are_closed(server, sent):
    port, connections = server
    opened = []
    for _ in range(150):
        opened.append(socket.create_connection(('127.0.0.1', port)))
        opened[-1].sendall(sent)
    status, seconds = ask(port)
    assert status == 200 and seconds < 2
    assert len(connections.open) <= MOST_OF_ONE
    assert all(map(is_closed, opened))
    time.sleep(0.1)
    assert not connections.open and not connections.waiting
    assert ask(port)[0] == 200
    for one in opened:
        one.close()


def test_a_slow_request_header_is_cut_off(server):
    port, _ = server
    with socket.create_connection(('127.0.0.1', port)) as opened:
        begin = time.monotonic()
        with pytest.raises(ConnectionError):
            for byte in b'GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ' + b'x' * 500:
                opened.sendall(bytes([byte]))
                time.sleep(0.02)
        assert time.monotonic() - begin < 3


def test_a_second_request_of_a_connection_has_its_own_time(server):
    port, connections = server
    with socket.create_connection(('127.0.0.1', port)) as opened:
        for _ in range(4):   # 1.2 seconds in all, each within its limit
            opened.sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
            received = b''
            while not received.endswith(b'ok'):
                received += opened.recv(4096)
            time.sleep(0.3)
        assert len(connections.open) == 1 and len(connections.waiting) == 1
        opened.sendall(b'GET /')
        assert is_closed(opened)


class Opened:
    """A stand-in for a connection without a server."""

    def __init__(self):
        self.aborted, self.transport = False, self

    def abort(self) -> None:
        self.aborted = True


def test_the_longest_idle_connection_is_closed_and_active_ones_stay():
    connections = Connections(4, 3)
    one, two, three, four = others = [Opened() for _ in range(4)]
    for opened in others:
        assert connections.admit(opened, 'a' if opened is not four else 'b')
        connections.start_waiting(opened)
    connections.waiting.pop(one)                     # it is being answered
    assert connections.admit(Opened(), 'a') and [opened.aborted for opened in others] == [False, True, False, False]
    for opened in list(connections.waiting):
        connections.waiting.pop(opened)
    assert not connections.admit(Opened(), 'a')      # all of its address are being answered
    assert not connections.admit(Opened(), 'c')      # and so are all
    connections.start_waiting(four)
    assert connections.admit(Opened(), 'c') and four.aborted and len(connections.open) == 4
