"""The server of the drawing page: command line, allowed requests, limits and start-up."""
import argparse
import asyncio
import base64
import json
import os
import re
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import torch

from core.device import choose_device
from core.errors import BadInput, naming, shown
from core.safetensors_file import is_safetensors
from data import find_images, list_folder
from engine.cli import Parser, at_least
from engine.config import config_for
from engine.python_api import config_of
from extras.demo.connections import Connections, bounded_protocol
from extras.demo.model import DemoModel, Source, name_of, png_of
from extras.demo.style_map import Maps

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / 'models' / 'edges2shirts.pt'
SHIPPED_CONFIG = ROOT / 'configs' / 'edges2shirts_folder.yaml'
EXAMPLES = {'a': tuple(f'edges2shirts_outline{number}.png' for number in ('', '_2', '_3', '_4', '_5', '_6')),
            'b': tuple(f'edges2shirts_shirt{number}.jpg' for number in ('', '_2', '_3', '_4', '_5', '_6'))}
EXAMPLE_SIDE = 96
MOST_EXAMPLES = 6
LOCAL = ('127.0.0.1', 'localhost', '::1')
MOST_BYTES = 20 * 2 ** 20     # of a request body
MOST_WAITING = 8              # concurrent requests, including the one being computed; each may hold MOST_BYTES
BODY_TIMEOUT = 20             # seconds for receiving a request body
BUSY_BODY_TIMEOUT = 1         # seconds after which a slow body may be cancelled in favour of a new request
MAX_CONNECTIONS = 100
MAX_CONNECTIONS_PER_ADDRESS = 32   # browsers open about six
# Paths that the page needs. All other endpoints of Gradio, such as uploads and files, are blocked.
PAGE = re.compile(r'/|/(config|theme\.css|favicon\.ico|manifest\.json)|/(assets|static)/[\w./-]+|'
                  r'/demo/(start|map/[ab])')
WORK = re.compile(r'/demo/(content|style|outline|sample|translate|save)')
POLICY = ("default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
          "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; object-src 'none'; "
          "base-uri 'self'; form-action 'self'; frame-ancestors 'self'")


def parse_arguments(argv: list[str] | None = None):
    parser = Parser('Serve a page for drawing with live translation; sample, keep and blend styles.',
                    config_required=False)
    parser.add_argument('--checkpoint', nargs='+', default=[display_path(SHIPPED)],
                        help='a gen_XXXXXXXX.pt, or several, which the page offers for selection; without --config, '
                             'each uses the config of its run or the one with its name in configs/')
    parser.add_argument('--style_folder', default='',
                        help='images for the style map: a folder with trainA and trainB, or a folder of images of '
                             'domain B (default: the map next to the checkpoint, or else the training images of the '
                             'config)')
    parser.add_argument('--host', default='127.0.0.1',
                        help='the address to listen on; 0.0.0.0 accepts connections from other machines')
    parser.add_argument('--port', type=at_least(0, 65535), default=7860, help='0: choose a free port')
    parser.add_argument('--embed_in', default='', help='a site that may embed the page in a frame, such as '
                                                       'https://huggingface.co')
    parser.add_argument('--allow_host', nargs='+', action='extend', default=[], metavar='NAME',
                        help='host names under which a proxy serves the page, such as draw.example.org')
    parser.add_argument('--root_path', default='', help='the path under which a proxy serves the page, such as /munit')
    opts = parser.parse_args(argv)
    opts.allow_host = [name.lower() for given in opts.allow_host for name in given.split(',')]
    for name in opts.allow_host:
        if not re.fullmatch(r'[a-z0-9]([a-z0-9.-]*[a-z0-9])?', name):
            parser.error(f'--allow_host {shown(name, 80)}: not a host name; give a name such as draw.example.org, '
                         f'without http:// and port')
    opts.root_path = opts.root_path.rstrip('/')
    if opts.root_path and (not re.fullmatch(r'(/[\w.~-]+)+', opts.root_path) or '..' in opts.root_path):
        parser.error(f'--root_path {shown(opts.root_path, 80)}: not a valid path; give one such as /munit')
    if opts.embed_in and not re.fullmatch(r'https?://[A-Za-z0-9.-]+(:\d+)?', opts.embed_in):
        parser.error(f'--embed_in {shown(opts.embed_in, 80)}: not the address of a site; give one such as '
                     f'https://huggingface.co')
    return opts


def main(argv: list[str] | None = None) -> None:
    opts = parse_arguments(argv)
    if not find_spec('gradio'):
        raise BadInput('demo.py: requires Gradio, which is not installed: pip install -r requirements/demo.txt')
    with listen(opts.host, opts.port) as listener, tempfile.TemporaryDirectory(prefix='munit_demo_') as empty:
        os.environ['GRADIO_TEMP_DIR'] = empty   # nothing is written there; the default may belong to another user
        device = choose_device(opts.device)
        # Leave one core for the browser. If it competes with the threads of PyTorch, they wait for each other, and
        # translation with a small model takes many times as long as with a single thread.
        torch.set_num_threads(max(1, torch.get_num_threads() - 1))
        models = [open_model(opts, checkpoint, device) for checkpoint in opts.checkpoint]
        # Behind a proxy, all connections come from one address.
        per_address = MAX_CONNECTIONS if opts.allow_host or opts.root_path else MAX_CONNECTIONS_PER_ADDRESS
        serve(make_app(models, opts), listener, opts.host, Connections(MAX_CONNECTIONS, per_address))


def open_model(opts: argparse.Namespace, checkpoint: str, device: torch.device) -> DemoModel:
    """Load a model with --config, or else with the config that `config_file_of` finds.

    Raises:
        BadInput: the config or the checkpoint cannot be used.
    """
    file = opts.config or config_file_of(checkpoint)
    config = {**config_for(file, checkpoint, opts.trainer), 'max_image_pixels': opts.max_image_pixels}
    return DemoModel(Source(file, checkpoint, opts.trainer), config, device)


def config_file_of(checkpoint: str) -> str | None:
    """Return the config file of a checkpoint: of its run, else with its name in configs/, else the shipped config.

    Returns None for a .safetensors file, which contains its config.
    """
    path = Path(checkpoint)
    if is_safetensors(path):
        return None
    of_run = path.parent.parent / 'config.yaml'
    if path.parent.name == 'checkpoints' and of_run.is_file():
        return str(of_run)
    try:
        return display_path(config_of(path.stem))
    except BadInput:
        return display_path(SHIPPED_CONFIG)


def display_path(path: Path) -> str:
    """Return a path of this project, relative if the project is the current folder."""
    return str(path.relative_to(ROOT) if Path.cwd() == ROOT else path)


# ---------------------------------------------------------------------------------------------------------------------
# Description of a model for the page
# ---------------------------------------------------------------------------------------------------------------------

def find_map_pictures(opts: argparse.Namespace, config: dict) -> Callable[[str], list[Path]]:
    """Return a function that lists the images of a domain ('a' or 'b') for the style map, or raises BadInput.

    Raises:
        BadInput: --style_folder is not a folder, or contains no images.
    """
    if not opts.style_folder:
        def find(domain: str) -> list[Path]:
            try:
                return find_images(config, 'train', domain)
            except BadInput:
                raise BadInput('the training images of the config are not on this machine; use --style_folder for '
                               'others') from None
        return find
    folder = Path(opts.style_folder)
    parts = {domain: part for domain in 'ab' if (part := folder / f'train{domain.upper()}').is_dir()}
    with naming('--style_folder'):
        found = {domain: list_folder(part) for domain, part in (parts or {'b': folder}).items()}

    def given(domain: str) -> list[Path]:
        if domain not in found:
            raise BadInput(f'--style_folder contains no train{domain.upper()}')
        return found[domain]
    return given


def find_examples(model: DemoModel) -> dict[str, list[Path]]:
    """Return a few example inputs per domain: those of the shipped model, or else test images of the config, if any."""
    examples = {}
    for domain in 'ab':
        if os.path.exists(SHIPPED) and os.path.samefile(model.source.checkpoint, SHIPPED):
            found = [ROOT / 'inputs' / name for name in EXAMPLES[domain]]
        else:
            try:
                found = find_images(model.config, 'test', domain)
            except BadInput:
                found = []
        examples[domain] = [path for path in found[:MOST_EXAMPLES] if path.is_file()]
    return examples


def names_of(models: list[DemoModel]) -> list[str]:
    """Return the display names of models: the stems of their files, preceded by the name of the run, if any."""
    paths = [Path(model.source.checkpoint) for model in models]
    return [shown(f'{path.parent.parent.name} {path.stem}' if path.parent.name == 'checkpoints' else path.stem, 60)
            for path in paths]


def describe_model(model: DemoModel, examples: dict[str, list[Path]], names: dict[str, str],
                   models: list[str]) -> dict[str, Any]:
    """Return the description of a model for the page, as JSON.

    Args:
        model: the model.
        examples: example inputs of each domain.
        names: display names of domains; by default, their letters.
        models: display names of all models.
    """
    def url(path: Path, domain: str, translator) -> str | None:
        try:
            return data_url(png_of(translator.read(str(path), domain, EXAMPLE_SIDE)))
        except BadInput:   # an unreadable example has no button
            return None

    ways = {}
    for way, translator in model.translators.items():
        source, target = translator.source, translator.target
        ways[way] = {'source': source, 'target': target, 'channels': model.config[f'input_dim_{source}'],
                     'outlines': model.takes_outlines(way),
                     'from': names.get(source) or source.upper(), 'to': names.get(target) or target.upper(),
                     'sizes': model.sizes(way), 'size': model.own_size(way), 'name': name_of(model.source, way),
                     'examples': [url(path, source, translator) for path in examples[source]]}
    return {'ways': ways, 'style_length': model.style_length, 'most_bytes': MOST_BYTES, 'models': models}


def data_url(png: bytes) -> str:
    """Encode a PNG as a data URL, which a page displays without a further request."""
    return 'data:image/png;base64,' + base64.b64encode(png).decode()


# ---------------------------------------------------------------------------------------------------------------------
# Requests
# ---------------------------------------------------------------------------------------------------------------------

class Served(NamedTuple):
    """A model and its data for the page."""
    model: DemoModel
    examples: dict[str, list[Path]]
    description: dict[str, Any]   # from `describe_model`
    maps: Maps


class RequestHandler:
    """Handles the requests of the page, one computation at a time.

    If `MOST_WAITING` requests are in progress, a new one replaces the request whose body has been arriving for the
    longest time, or is rejected if no body is slow. The query parameter `model` is the index of the model, from 0.
    """

    def __init__(self, served: list[Served]):
        self.served = served
        self.waiting, self.turn = 0, asyncio.Lock()
        self.reading: dict[asyncio.Future, float] = {}   # incomplete requests, and when each began

    def model_of(self, query: Mapping[str, str]) -> Served:
        """Return the model that a request selects. Raises BadInput if it does not exist."""
        number = query.get('model', '0')
        if not re.fullmatch('[0-9]{1,3}', number) or int(number) >= len(self.served):
            raise BadInput('there is no such model')
        return self.served[int(number)]

    async def start(self, request: 'Request') -> 'Response':
        """Return the result of `describe_model`."""
        return self._respond(request, lambda served: served.description)

    async def map(self, request: 'Request') -> 'Response':
        """Return the style map of a domain, the progress of its computation, or the reason why there is none."""
        domain = request.path_params['domain']
        return self._respond(request, lambda served: served.maps.states.get(domain, {'why': 'this model has none'}))

    def _respond(self, request: 'Request', content_of: Callable[[Served], dict]) -> 'Response':
        from starlette.responses import JSONResponse
        try:
            return JSONResponse(content_of(self.model_of(request.query_params)))
        except BadInput as error:
            return JSONResponse({'error': str(error)}, 400)

    async def answer(self, request: 'Request') -> 'Response':
        """Handle a request for one of the paths in `WORK`.

        Returns:
            The result as JSON or PNG, or a status of at least 400 with {'error': a message for the user}.
        """
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import JSONResponse, Response
        if self.waiting >= MOST_WAITING and not self._make_room():
            return JSONResponse({'error': f'the model is busy: {self.waiting} requests wait for it; try again in a '
                                          f'moment'}, 503, {'Retry-After': '1'})
        self.waiting += 1
        reading = asyncio.ensure_future(read_body(request))
        self.reading[reading] = time.monotonic()
        try:
            body = await reading
            self.reading.pop(reading, None)
            async with self.turn:
                if await request.is_disconnected():   # the client no longer waits for the result
                    return Response(status_code=499)
                answer = await run_in_threadpool(self.compute, request.path_params['what'], request.query_params, body)
        except BadInput as error:
            return JSONResponse({'error': str(error)}, 413 if isinstance(error, RequestTooLarge) else 400)
        except asyncio.CancelledError:
            if not reading.cancelled():   # the server is shutting down
                raise
            return JSONResponse({'error': 'this request arrived too slowly and was replaced by another one'}, 503)
        finally:
            self.waiting -= 1
            self.reading.pop(reading, None)
        return Response(answer, media_type='image/png') if isinstance(answer, bytes) else JSONResponse(answer)

    def _make_room(self) -> bool:
        """Cancel the request whose body has been arriving for the longest time. Returns False if no body is slow."""
        for reading, since in self.reading.items():
            if not reading.done() and time.monotonic() - since > BUSY_BODY_TIMEOUT:
                del self.reading[reading]
                return reading.cancel()
        return False

    def compute(self, what: str, query: Mapping[str, str], body: bytes) -> bytes | dict[str, Any]:
        """Compute the result of a request: a PNG, or an object for JSON. Raises BadInput if the request is invalid."""
        served = self.model_of(query)
        model = served.model
        if what == 'outline':              # here and in the next branch, the body is an image file
            return model.outline(body, query.get('way', ''))
        if what in ('content', 'style'):
            way, size, example = query.get('way', ''), query.get('size', ''), query.get('example', '')
            if example:
                body = self._example(served, way, example)
            if what == 'style':
                found = model.style_of(body, way)
                return {'style': found['style'], 'picture': data_url(found['picture'])}
            return model.content(body, way, int(size) if re.fullmatch('[0-9]{1,5}', size) else 0)
        asked = read_json(body)
        if what == 'sample':
            return {'styles': model.sample(asked.get('way'), asked.get('seed'), asked.get('count'))}
        content = read_data_url(asked.get('content'))
        if what == 'save':
            return model.save(content, asked.get('way'), asked.get('size'), asked.get('style'),
                              *(asked.get(key) for key in ('origin', 'seed', 'number', 'count')))
        styles, blend = asked.get('styles'), asked.get('blend')
        if isinstance(blend, dict):
            styles = [model.blend(blend.get('first'), blend.get('last'), blend.get('part'))]
        pictures = model.translate(content, asked.get('way'), asked.get('size'), styles)
        return {'pictures': [data_url(picture) for picture in pictures], 'styles': styles}

    def _example(self, served: Served, way: str, number: str) -> bytes:
        paths = served.examples[served.model.translators[way].source] if way in served.model.translators else []
        if not re.fullmatch('[0-9]{1,2}', number) or int(number) >= len(paths):
            raise BadInput('there is no such example')
        try:
            return paths[int(number)].read_bytes()
        except OSError as error:
            raise BadInput(f'this example cannot be read ({error.strerror})') from None


class RequestTooLarge(BadInput):
    """A request that is too large, or too slow."""


async def read_body(request: 'Request') -> bytes:
    """Read a request body into memory. Raises RequestTooLarge if it is too large or arrives too slowly."""
    from starlette.requests import ClientDisconnect
    too_large = RequestTooLarge(f'more than {MOST_BYTES >> 20} MiB, which is too large')

    async def read() -> bytes:
        parts, length = [], 0
        async for part in request.stream():
            length += len(part)
            if length > MOST_BYTES:
                raise too_large
            parts.append(part)
        return b''.join(parts)

    if int(request.headers.get('content-length') or 0) > MOST_BYTES:
        raise too_large
    try:
        return await asyncio.wait_for(read(), BODY_TIMEOUT)
    except (asyncio.TimeoutError, TimeoutError, ClientDisconnect):
        raise RequestTooLarge(f'receiving the request took more than {BODY_TIMEOUT} seconds') from None


def read_json(body: bytes) -> dict[str, Any]:
    """Parse a request body as a JSON object. Raises BadInput if it is not one."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise BadInput('this request is not a JSON object')
    return asked


def read_data_url(text: Any) -> bytes:
    """Decode the file in a data URL of an image. Raises BadInput if it is not one."""
    try:
        head, content = text.split(',', 1)
        if not head.startswith('data:image/') or not head.endswith(';base64'):
            raise ValueError
        return base64.b64decode(content, validate=True)
    except (AttributeError, ValueError):
        raise BadInput('this request contains no image') from None


class Guard:
    """ASGI middleware that admits only requests from the page itself to the paths that the page needs.

    Without it, other pages in the same browser could send requests to the server (cross-site request forgery), and a
    foreign host name that resolves to this machine could read the responses (DNS rebinding).

    Args:
        app: the ASGI application.
        hosts: the accepted host names; if empty, all are accepted.
        embed_in: a site that may embed the page in a frame.
        proxy_hosts: the host names under which a proxy serves the page.
        root_path: the path under which a proxy serves the page, whether or not the proxy removes it from requests.
    """

    def __init__(self, app: Callable, hosts: set[str], embed_in: str = '', proxy_hosts: Sequence[str] = (),
                 root_path: str = ''):
        self.app, self.hosts, self.proxy_hosts, self.root_path = app, hosts, proxy_hosts, root_path
        self.policy = f'{POLICY} {embed_in}'.strip()   # the policy ends with the frame ancestors

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
            return
        from starlette.responses import JSONResponse
        if scope['type'] != 'http':
            return
        if self.root_path and f'{scope["path"]}/'.startswith(f'{self.root_path}/'):
            path = scope['path'][len(self.root_path):] or '/'
            scope = {**scope, 'path': path, 'raw_path': path.encode()}
        refusal = self.refusal(scope)
        app = JSONResponse({'error': refusal[1]}, refusal[0]) if refusal else self.app

        async def send_with_headers(message: dict) -> None:
            if message['type'] == 'http.response.start':
                headers = {'content-security-policy': self.policy, 'x-content-type-options': 'nosniff',
                           'referrer-policy': 'no-referrer'}
                if scope['path'].startswith('/demo/'):
                    headers['cache-control'] = 'no-store'
                message = {**message, 'headers': [*message['headers'], *(
                    (key.encode(), value.encode()) for key, value in headers.items())]}
            await send(message)

        await app(scope, receive, send_with_headers)

    def refusal(self, scope: dict) -> tuple[int, str] | None:
        """Return the status and the reason if a request is refused, else None."""
        headers = {key.decode('latin-1'): value.decode('latin-1') for key, value in scope['headers']}
        host, origin = headers.get('host', ''), headers.get('origin')
        try:
            name, asking = urlsplit(f'//{host}').hostname, urlsplit(origin).netloc if origin else host
            from_proxy = urlsplit(origin).hostname in self.proxy_hosts if origin else False   # a proxy may replace Host
        except ValueError:   # such as an unmatched bracket
            name, asking, from_proxy = None, None, False
        if not name or self.hosts and name not in self.hosts:
            return 403, ('unknown host name: this page is available at http://127.0.0.1 and http://localhost only; '
                         'use --host or --allow_host to allow others')
        path, method = scope['path'], scope['method']
        if WORK.fullmatch(path):
            if method != 'POST':
                return 405, 'method not allowed'
            site = headers.get('sec-fetch-site', 'same-origin')
            if asking != host and not from_proxy or site not in ('same-origin', 'none'):
                return 403, 'requests from other sites are not allowed'
            return None
        if not PAGE.fullmatch(path) or '..' in path:
            return 404, 'not found'
        return None if method in ('GET', 'HEAD') else (405, 'method not allowed')


# ---------------------------------------------------------------------------------------------------------------------
# The server
# ---------------------------------------------------------------------------------------------------------------------

def make_app(models: list[DemoModel], opts: argparse.Namespace) -> Callable:
    """Return the ASGI application: the page, which Gradio serves, and the requests that it sends.

    Raises:
        BadInput: --style_folder cannot be used.
    """
    served = []
    for model in models:
        maps = Maps(model.source.checkpoint, model.digest,
                    {translator.target: translator for translator in model.translators.values()}, model.lock,
                    find_map_pictures(opts, model.config), bool(opts.style_folder))
        examples = find_examples(model)
        served.append(Served(model, examples, describe_model(model, examples, maps.names, names_of(models)), maps))
    app = page_app(RequestHandler(served))
    mount_page(app, opts.root_path)
    for each in served:
        each.maps.start()
    hosts = {*LOCAL, *opts.allow_host} if opts.host in LOCAL or opts.allow_host else set()
    return Guard(app, hosts, opts.embed_in, opts.allow_host, opts.root_path)


def page_app(handler: RequestHandler) -> 'FastAPI':
    """Return the application without the page, and disable the telemetry of all libraries."""
    os.environ.update(GRADIO_ANALYTICS_ENABLED='False', HF_HUB_DISABLE_TELEMETRY='1', HF_HUB_OFFLINE='1')
    from fastapi import FastAPI
    from starlette.routing import Route
    return FastAPI(openapi_url=None, docs_url=None, redoc_url=None, routes=[
        Route('/demo/start', handler.start), Route('/demo/map/{domain}', handler.map),
        Route('/demo/{what}', handler.answer, methods=['POST'])])


def mount_page(app: 'FastAPI', root_path: str = '') -> None:
    """Serve the page at / with Gradio. `root_path` is the path under which a proxy serves it."""
    import gradio
    markup, style, script = (Path(__file__).with_name(f'page.{kind}').read_text(encoding='utf-8')
                             for kind in ('html', 'css', 'js'))
    fonts = [gradio.themes.Font(name) for name in ('system-ui', 'sans-serif')]
    mono = [gradio.themes.Font(name) for name in ('ui-monospace', 'monospace')]
    with gradio.Blocks(title='MUNIT', analytics_enabled=False, fill_width=True) as blocks:
        gradio.HTML(html_template=f'<style>{style}</style>{markup}', js_on_load=script, apply_default_css=False)
    gradio.mount_gradio_app(app, blocks, '/', footer_links=[], run_history=False, enable_monitoring=False,
                            show_error=False, max_file_size=1, ssr_mode=False, pwa=False, mcp_server=False,
                            theme=gradio.themes.Base(font=fonts, font_mono=mono), root_path=root_path or None)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address and port.

    Raises:
        BadInput: the port is in use, or the address does not belong to this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM,
                                                                flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise BadInput(f'--host {shown(host, 80)}: not an address of this machine '
                       f'({getattr(error, "strerror", None) or error})') from None
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == 'posix':   # on Windows, this would allow two servers on one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        if host in (*LOCAL, '0.0.0.0', '::'):
            raise BadInput(f'--port {port}: cannot listen on it ({error.strerror}); another program may use it; '
                           f'--port 0 chooses a free one') from None
        raise BadInput(f'--host {shown(host, 80)} --port {port}: cannot listen on it ({error.strerror})') from None
    return listener


def serve(app: Callable, listener: socket.socket, host: str, connections: Connections) -> None:
    """Serve until Ctrl-C or SIGTERM. Raises KeyboardInterrupt at the end."""
    import uvicorn
    port = listener.getsockname()[1]
    name = f'[{host}]' if ':' in host else 'localhost' if host == '0.0.0.0' else host

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f'http://{name}:{port}   (press Ctrl-C to stop)', flush=True)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))   # close everything, as after Ctrl-C
    settings = uvicorn.Config(app, log_level='error', access_log=False, server_header=False, lifespan='on',
                              http=bounded_protocol(connections), timeout_graceful_shutdown=1)
    Server(settings).run(sockets=[listener])
    raise KeyboardInterrupt   # only Ctrl-C ends `run`, but under load asyncio may handle the signal without raising it
