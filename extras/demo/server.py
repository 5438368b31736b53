"""The drawing page's server: what it answers to, its limits, and its start."""
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
MOST_BYTES = 20 * 2 ** 20     # of a request
MOST_WAITING = 8              # requests at once, the one that is computed included: each may hold MOST_BYTES
SECONDS_TO_SEND = 20          # a request's body, from its first byte to its last
SECONDS_OF_HASTE = 1          # for a body while others wait
MOST_CONNECTIONS = 100
MOST_OF_ONE_ADDRESS = 32      # of them; a browser opens six
# What a browser fetches for the page; all else that Gradio answers to, uploads and files among it, stays shut.
PAGE = re.compile(r'/|/(config|theme\.css|favicon\.ico|manifest\.json)|/(assets|static)/[\w./-]+|'
                  r'/demo/(start|map/[ab])')
WORK = re.compile(r'/demo/(content|style|outline|sample|translate|save)')
POLICY = ("default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
          "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; object-src 'none'; "
          "base-uri 'self'; form-action 'self'; frame-ancestors 'self'")


def parse_arguments(argv: list[str] | None = None):
    parser = Parser('A page in the browser: draw, and see it translated; sample, keep and blend styles.',
                    config_required=False)
    parser.add_argument('--checkpoint', nargs='+', default=[beside_here(SHIPPED)],
                        help='a gen_XXXXXXXX.pt, or several to choose from on the page; without --config, each has '
                             'that of its run, or of its name in configs/')
    parser.add_argument('--style_folder', default='', help='pictures for the style map: a folder that holds trainA and '
                                                           "trainB, or one of B's pictures (default: the map beside "
                                                           "the checkpoint, or the config's training images)")
    parser.add_argument('--host', default='127.0.0.1', help='the address to listen at; 0.0.0.0 lets other machines in')
    parser.add_argument('--port', type=at_least(0, 65535), default=7860, help='0 takes a free one')
    parser.add_argument('--embed_in', default='', help='a site whose pages may show this one in a frame, such as '
                                                       'https://huggingface.co')
    parser.add_argument('--allow_host', nargs='+', action='extend', default=[], metavar='NAME',
                        help='names under which a proxy serves the page to others, such as draw.example.org')
    parser.add_argument('--root_path', default='', help='the path under which a proxy serves the page, such as /munit')
    opts = parser.parse_args(argv)
    opts.allow_host = [name.lower() for given in opts.allow_host for name in given.split(',')]
    for name in opts.allow_host:
        if not re.fullmatch(r'[a-z0-9]([a-z0-9.-]*[a-z0-9])?', name):
            parser.error(f'--allow_host {shown(name, 80)}: not the name of a host, as draw.example.org is; give it '
                         f'without http:// and port')
    opts.root_path = opts.root_path.rstrip('/')
    if opts.root_path and (not re.fullmatch(r'(/[\w.~-]+)+', opts.root_path) or '..' in opts.root_path):
        parser.error(f'--root_path {shown(opts.root_path, 80)}: not the path of a page, as /munit is')
    if opts.embed_in and not re.fullmatch(r'https?://[A-Za-z0-9.-]+(:\d+)?', opts.embed_in):
        parser.error(f'--embed_in {shown(opts.embed_in, 80)}: not the address of a site, as https://huggingface.co is')
    return opts


def main(argv: list[str] | None = None) -> None:
    opts = parse_arguments(argv)
    if not find_spec('gradio'):
        raise BadInput('demo.py: the page needs Gradio: pip install -r requirements/demo.txt')
    with listen(opts.host, opts.port) as listener, tempfile.TemporaryDirectory(prefix='munit_demo_') as nothing:
        os.environ['GRADIO_TEMP_DIR'] = nothing   # Gradio's own may belong to another user; it stays empty
        device = choose_device(opts.device)
        # One core is the browser's. Where it takes one of PyTorch's, the threads wait for each other: of a small model,
        # a translation then takes many times as long as in one thread.
        torch.set_num_threads(max(1, torch.get_num_threads() - 1))
        models = [open_model(opts, checkpoint, device) for checkpoint in opts.checkpoint]
        # A proxy's connections all come from one address.
        of_one = MOST_CONNECTIONS if opts.allow_host or opts.root_path else MOST_OF_ONE_ADDRESS
        serve(make_app(models, opts), listener, opts.host, Connections(MOST_CONNECTIONS, of_one))


def open_model(opts: argparse.Namespace, checkpoint: str, device: torch.device) -> DemoModel:
    """The model of one of --checkpoint, with --config or with the config that belongs to it.

    Raises:
        BadInput: a config or checkpoint that cannot be used.
    """
    file = opts.config or config_file_of(checkpoint)
    config = {**config_for(file, checkpoint, opts.trainer), 'max_image_pixels': opts.max_image_pixels}
    return DemoModel(Source(file, checkpoint, opts.trainer), config, device)


def config_file_of(checkpoint: str) -> str | None:
    """The config of a checkpoint's run, else that with its name in configs/, else the shipped one; None where it brings
    its own along.
    """
    path = Path(checkpoint)
    if is_safetensors(path):
        return None
    of_run = path.parent.parent / 'config.yaml'
    if path.parent.name == 'checkpoints' and of_run.is_file():
        return str(of_run)
    try:
        return beside_here(config_of(path.stem))
    except BadInput:
        return beside_here(SHIPPED_CONFIG)


def beside_here(path: Path) -> str:
    """A path of this project as one would write it: short where this is the current folder."""
    return str(path.relative_to(ROOT) if Path.cwd() == ROOT else path)


# ---------------------------------------------------------------------------------------------------------------------
# What the page knows of the model
# ---------------------------------------------------------------------------------------------------------------------

def find_map_pictures(opts: argparse.Namespace, config: dict) -> Callable[[str], list[Path]]:
    """What finds a domain's pictures for the map.

    Raises:
        BadInput: --style_folder is no folder, or holds no pictures.
    """
    if not opts.style_folder:
        def find(domain: str) -> list[Path]:
            try:
                return find_images(config, 'train', domain)
            except BadInput:
                raise BadInput("the config's training images are not on this machine; --style_folder names "
                               'others') from None
        return find
    folder = Path(opts.style_folder)
    parts = {domain: part for domain in 'ab' if (part := folder / f'train{domain.upper()}').is_dir()}
    with naming('--style_folder'):
        found = {domain: list_folder(part) for domain, part in (parts or {'b': folder}).items()}

    def given(domain: str) -> list[Path]:
        if domain not in found:
            raise BadInput(f'--style_folder holds no train{domain.upper()}')
        return found[domain]
    return given


def find_examples(model: DemoModel) -> dict[str, list[Path]]:
    """A few inputs of each domain: those that come along with the shipped model, or test images, if they are there."""
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
    """What the page calls the models: their files, with the run's name where the file is of a run."""
    paths = [Path(model.source.checkpoint) for model in models]
    return [shown(f'{path.parent.parent.name} {path.stem}' if path.parent.name == 'checkpoints' else path.stem, 60)
            for path in paths]


def describe_start(model: DemoModel, examples: dict[str, list[Path]], names: dict[str, str],
                   models: list[str]) -> dict[str, Any]:
    """All that the page must know of a model; `models` are the names of all."""
    def url(path: Path, domain: str, translator) -> str | None:
        try:
            return data_url(png_of(translator.read(str(path), domain, EXAMPLE_SIDE)))
        except BadInput:   # a broken one has no button
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
    """A PNG as a page can show it without fetching it."""
    return 'data:image/png;base64,' + base64.b64encode(png).decode()


# ---------------------------------------------------------------------------------------------------------------------
# Requests
# ---------------------------------------------------------------------------------------------------------------------

class Served(NamedTuple):
    """A model, and what the page has of it."""
    model: DemoModel
    examples: dict[str, list[Path]]
    description: dict[str, Any]   # by `describe_start`
    maps: Maps


class Work:
    """What the page asks for, one request after another. When too many wait, the one is turned away whose body takes
    longest to come, or else the new one.

    A request says in `model` which of the models it is for, from 0.
    """

    def __init__(self, served: list[Served]):
        self.served = served
        self.waiting, self.turn = 0, asyncio.Lock()
        self.reading: dict[asyncio.Future, float] = {}   # requests that have not come whole yet, and since when

    def of(self, query: Mapping[str, str]) -> Served:
        """What a request is for. Raises BadInput."""
        number = query.get('model', '0')
        if not re.fullmatch('[0-9]{1,3}', number) or int(number) >= len(self.served):
            raise BadInput('there is no such model')
        return self.served[int(number)]

    async def start(self, request: 'Request') -> 'Response':
        """What `describe_start` says."""
        return self._describe(request, lambda served: served.description)

    async def map(self, request: 'Request') -> 'Response':
        """The map of a domain's styles, or how far it is made, or why there is none."""
        domain = request.path_params['domain']
        return self._describe(request, lambda served: served.maps.states.get(domain, {'why': 'this model has none'}))

    def _describe(self, request: 'Request', what: Callable[[Served], dict]) -> 'Response':
        from starlette.responses import JSONResponse
        try:
            return JSONResponse(what(self.of(request.query_params)))
        except BadInput as error:
            return JSONResponse({'error': str(error)}, 400)

    async def answer(self, request: 'Request') -> 'Response':
        """One of `WORK`: its answer as JSON or PNG, or a status of 400 and above with {'error': what to tell}."""
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
                if await request.is_disconnected():   # nobody waits for it any more
                    return Response(status_code=499)
                answer = await run_in_threadpool(self.do, request.path_params['what'], request.query_params, body)
        except BadInput as error:
            return JSONResponse({'error': str(error)}, 413 if isinstance(error, TooMuch) else 400)
        except asyncio.CancelledError:
            if not reading.cancelled():   # the server ends
                raise
            return JSONResponse({'error': 'another request took the place of this one, which came too slowly'}, 503)
        finally:
            self.waiting -= 1
            self.reading.pop(reading, None)
        return Response(answer, media_type='image/png') if isinstance(answer, bytes) else JSONResponse(answer)

    def _make_room(self) -> bool:
        """Turn the request away that has been coming for the longest time; False where none takes long."""
        for reading, since in self.reading.items():
            if not reading.done() and time.monotonic() - since > SECONDS_OF_HASTE:
                del self.reading[reading]
                return reading.cancel()
        return False

    def do(self, what: str, query: Mapping[str, str], body: bytes) -> bytes | dict[str, Any]:
        """What one request asks for. Raises BadInput where it asks for what there is not."""
        served = self.of(query)
        model = served.model
        if what == 'outline':              # the body is a file, here and below
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


class TooMuch(BadInput):
    """A request that is too large, or too slow."""


async def read_body(request: 'Request') -> bytes:
    """The request's body, in memory. Raises TooMuch."""
    from starlette.requests import ClientDisconnect
    too_large = TooMuch(f'more than {MOST_BYTES >> 20} MiB, which is too large')

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
        return await asyncio.wait_for(read(), SECONDS_TO_SEND)
    except (asyncio.TimeoutError, TimeoutError, ClientDisconnect):
        raise TooMuch(f'the request took more than {SECONDS_TO_SEND} seconds to come') from None


def read_json(body: bytes) -> dict[str, Any]:
    """The object that a request's body holds. Raises BadInput."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise BadInput('this request is not one of the page')
    return asked


def read_data_url(text: Any) -> bytes:
    """The file in a data URL. Raises BadInput."""
    try:
        head, content = text.split(',', 1)
        if not head.startswith('data:image/') or not head.endswith(';base64'):
            raise ValueError
        return base64.b64decode(content, validate=True)
    except (AttributeError, ValueError):
        raise BadInput('this request holds no picture') from None


class Guard:
    """In front of all: what comes from this page and is meant for it goes through, nothing else does.

    Other pages in the same browser could otherwise send requests here, and a name of another host that leads to this
    machine could read the answers.

    Args:
        hosts: the names under which the page may be asked for; none for all.
        behind: names among them under which a proxy serves it.
        root_path: under which a proxy serves it, whether it passes that on or not.
    """

    def __init__(self, app: Callable, hosts: set[str], embed_in: str = '', behind: Sequence[str] = (),
                 root_path: str = ''):
        self.app, self.hosts, self.behind, self.root_path = app, hosts, behind, root_path
        self.policy = f'{POLICY} {embed_in}'.strip()   # it ends with who may show the page in a frame

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
        """Status and reason where the request does not go through."""
        headers = {key.decode('latin-1'): value.decode('latin-1') for key, value in scope['headers']}
        host, origin = headers.get('host', ''), headers.get('origin')
        try:
            name, asking = urlsplit(f'//{host}').hostname, urlsplit(origin).netloc if origin else host
            from_proxy = urlsplit(origin).hostname in self.behind if origin else False   # which may rename the host
        except ValueError:   # such as a bracket without its other
            name, asking, from_proxy = None, None, False
        if not name or self.hosts and name not in self.hosts:
            return 403, ('this page is at http://127.0.0.1 or http://localhost alone; --host and --allow_host let '
                         'others in')
        path, method = scope['path'], scope['method']
        if WORK.fullmatch(path):
            if method != 'POST':
                return 405, 'not allowed'
            site = headers.get('sec-fetch-site', 'same-origin')
            if asking != host and not from_proxy or site not in ('same-origin', 'none'):
                return 403, 'another page may not ask'
            return None
        if not PAGE.fullmatch(path) or '..' in path:
            return 404, 'there is nothing here'
        return None if method in ('GET', 'HEAD') else (405, 'not allowed')


# ---------------------------------------------------------------------------------------------------------------------
# The server
# ---------------------------------------------------------------------------------------------------------------------

def make_app(models: list[DemoModel], opts: argparse.Namespace) -> Callable:
    """The ASGI application: the page by Gradio, and what it asks for.

    Raises:
        BadInput: of --style_folder.
    """
    served = []
    for model in models:
        maps = Maps(model.source.checkpoint, model.digest,
                    {translator.target: translator for translator in model.translators.values()}, model.lock,
                    find_map_pictures(opts, model.config), bool(opts.style_folder))
        examples = find_examples(model)
        served.append(Served(model, examples, describe_start(model, examples, maps.names, names_of(models)), maps))
    app = page_app(Work(served))
    mount_page(app, opts.root_path)
    for each in served:
        each.maps.start()
    hosts = {*LOCAL, *opts.allow_host} if opts.host in LOCAL or opts.allow_host else set()
    return Guard(app, hosts, opts.embed_in, opts.allow_host, opts.root_path)


def page_app(work: Work) -> 'FastAPI':
    """The application without its page; no library reports to its makers."""
    os.environ.update(GRADIO_ANALYTICS_ENABLED='False', HF_HUB_DISABLE_TELEMETRY='1', HF_HUB_OFFLINE='1')
    from fastapi import FastAPI
    from starlette.routing import Route
    return FastAPI(openapi_url=None, docs_url=None, redoc_url=None, routes=[
        Route('/demo/start', work.start), Route('/demo/map/{domain}', work.map),
        Route('/demo/{what}', work.answer, methods=['POST'])])


def mount_page(app: 'FastAPI', root_path: str = '') -> None:
    """Let Gradio show the page at /, which a proxy serves at `root_path`."""
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
    """A socket that listens at the address.

    Raises:
        BadInput: it is taken, or not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM,
                                                                flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise BadInput(f'--host {shown(host, 80)}: not an address of this machine '
                       f'({getattr(error, "strerror", None) or error})') from None
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == 'posix':   # elsewhere, it would let two listen at one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        if host in (*LOCAL, '0.0.0.0', '::'):
            raise BadInput(f'--port {port}: cannot be listened at ({error.strerror}); another program may have it, '
                           f'--port 0 takes a free one') from None
        raise BadInput(f'--host {shown(host, 80)} --port {port}: cannot be listened at ({error.strerror})') from None
    return listener


def serve(app: Callable, listener: socket.socket, host: str, connections: Connections) -> None:
    """Answer until Ctrl-C."""
    import uvicorn
    port = listener.getsockname()[1]
    name = f'[{host}]' if ':' in host else 'localhost' if host == '0.0.0.0' else host

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f'http://{name}:{port}   (Ctrl-C ends it)', flush=True)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))   # as Ctrl-C: what is open is closed
    settings = uvicorn.Config(app, log_level='error', access_log=False, server_header=False, lifespan='on',
                              http=bounded_protocol(connections), timeout_graceful_shutdown=1)
    Server(settings).run(sockets=[listener])
    raise KeyboardInterrupt   # nothing else ends it; under load, asyncio may take the signal without raising it again
