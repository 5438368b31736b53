"""Around a run: the command line and the device, threads beside it, pictures."""
import argparse
import contextlib
import os
import platform
import re
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

import distributed
from data import MAX_IMAGE_PIXELS, BadInput, shown
from methods import METHODS
from precision import PRECISIONS

# ---------------------------------------------------------------------------------------------------------------------
# Commands
# ---------------------------------------------------------------------------------------------------------------------

class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, '') else super()._get_help_string(action)


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line on stderr."""

    def error(self, message: str):
        self.exit(2, f'{self.prog}: {shown(message)} (see {self.prog} --help)\n')


class Parser(OneLineParser):
    """A parser with the flags that all commands share."""

    def __init__(self, description: str, config: str | None = None):
        super().__init__(description=description, formatter_class=_Help)
        self.add_argument('--config', required=config is None, default=config, help='YAML file of the run')
        self.add_argument('--trainer', default='MUNIT', choices=tuple(METHODS), help='which method')
        self.add_argument('--device', default='auto', help='auto, cpu, cuda, cuda:N or mps; auto takes the best')
        self.add_argument('--output_path', default='.', help='where train.py keeps logs/ and outputs/')
        self.add_argument('--max_image_pixels', type=at_least(1), default=MAX_IMAGE_PIXELS,
                          help='images with more, in the file or after resizing, are refused')

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        # What begins with a minus is a flag to argparse, single numbers apart. A style code, which is a list of them,
        # is taken as a value when there is a space in front.
        words = sys.argv[1:] if args is None else args
        words = [f' {word}' if re.match(r'-[\d.][^,]*,', word) else word for word in words]
        return super().parse_known_args(words, namespace)


class DirectionParser(Parser):
    """The flags of what takes one direction of a model and writes into a folder."""

    def __init__(self, description: str, config: str | None = None, output_folder: str | None = None):
        super().__init__(description, config)
        self.add_argument('--output_folder', required=output_folder is None, default=output_folder,
                          help='where the results go')
        add_direction(self)


class TranslationParser(DirectionParser):
    """The flags that test.py and test_batch.py have in common."""

    def __init__(self, description: str, seed: int, config: str | None = None):
        super().__init__(description, config)
        add_seed(self, seed, 'of the sampled styles')
        self.add_argument('--num_style', type=at_least(1, 10_000), default=10, help='how many styles to sample')
        self.add_argument('--synchronized', action='store_true', help='the same styles for every input')
        self.add_argument('--output_only', action='store_true', help='do not write the inputs beside the outputs')
        add_new_size(self)
        self.add_argument('--normalize', action='store_true',
                          help='stretch each output to the full range, as the original did')
        add_compute(self)


def add_direction(parser: argparse.ArgumentParser) -> None:
    """The flags --checkpoint and --a2b."""
    parser.add_argument('--checkpoint', required=True, help='a gen_XXXXXXXX.pt')
    parser.add_argument('--a2b', type=int, default=1, choices=(0, 1), help='1: from A to B; 0: from B to A')


def add_seed(parser: argparse.ArgumentParser, default: int, words: str) -> None:
    """The flag --seed."""
    parser.add_argument('--seed', type=at_least(-2 ** 63, 2 ** 63 - 1), default=default, help=words)


def add_compute(parser: argparse.ArgumentParser) -> None:
    """The flags --precision, --encoder_noise and --compile."""
    parser.add_argument('--precision', default='fp32', choices=PRECISIONS,
                        help='fp32: as the original; tf32, bf16: faster and less exact, for GPUs that have them')
    add_encoder_noise(parser)
    parser.add_argument('--compile', action='store_true',
                        help='compile the networks first: a minute that pays for large folders')


def add_new_size(parser: argparse.ArgumentParser) -> None:
    """The flag --new_size."""
    parser.add_argument('--new_size', type=at_least(0), help="resize the shorter side to this, 0: keep the file's size "
                        "(default: the config's new_size)")


def add_encoder_noise(parser: argparse.ArgumentParser) -> None:
    """The flag --encoder_noise."""
    parser.add_argument('--encoder_noise', action='store_true',
                        help="--trainer UNIT: outputs that differ by the encoder's noise, as many as styles elsewhere")


def at_least(low: int, high: int = 2 ** 62) -> Callable[[str], int]:
    """An argparse type: a whole number of at least `low`, and no larger than `high`."""
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low:
            raise argparse.ArgumentTypeError(f'{shown(repr(text), 80)} is not a whole number of at least {low}')
        if value > high:
            raise argparse.ArgumentTypeError(f'{shown(repr(text), 80)} is more than {high}')
        return value
    return parse


class RunEnded(Exception):
    """A run that had to end before its time: what the user sees, and the exit status."""

    def __init__(self, status: int, line: str):
        super().__init__(line)
        self.status = status


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command's main and exit with its status; a user's mistake becomes its line on stderr and status 2."""
    for output in (sys.stdout, sys.stderr):   # a console or log of another encoding must not end a run at a × sign
        if hasattr(output, 'reconfigure'):
            output.reconfigure(errors='replace')
    try:
        status = main() or 0
    except (BadInput, RunEnded, distributed.OtherProcessEnded) as error:
        status = getattr(error, 'status', 1 if isinstance(error, distributed.OtherProcessEnded) else 2)
        with contextlib.suppress(OSError):   # it may go to a file on a full disk
            print(error, file=sys.stderr)
    except (MemoryError, RuntimeError) as error:
        # Of memory that is asked for at once; on a GPU, while training, train.py knows more.
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "can't allocate memory" not in str(error):
            raise
        print('not enough memory for networks and images of this size: lower gen.dim, dis.dim, batch_size, or the size '
              'of the images', file=sys.stderr)
        status = 2
    except KeyboardInterrupt:   # where nothing is trained yet, there is nothing to save
        status = 130
    for output in (sys.stdout, sys.stderr):
        try:
            output.flush()
        except OSError:   # Python would try again when it ends, and make another status of it
            os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
    distributed.leave(status)
    sys.exit(status)


def choose_device(name: str) -> torch.device:
    """The device called auto, cpu, cuda, cuda:N or mps; auto takes the best that is there.

    Raises:
        BadInput: the name is none of these, or this machine has no such device.
    """
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'mps' if torch.backends.mps.is_available() else 'cpu'
    if not re.fullmatch(r'cpu|cuda(:[0-9]{1,2})?|mps', name):   # PyTorch counts devices in 8 bits
        raise BadInput(f'--device {shown(name, 80)}: not one of auto, cpu, cuda, cuda:N, mps')
    there = {'cpu': 1, 'cuda': torch.cuda.device_count(), 'mps': int(torch.backends.mps.is_available())}
    device = torch.device(name)
    if (device.index or 0) >= there[device.type]:
        raise BadInput(f'--device {name}: this machine has {there[device.type]} {device.type} devices that PyTorch '
                       f'can use; --device auto takes what is there')
    return device


def reason_of(error: Exception) -> str:
    """The first line of what PyTorch's compiler says."""
    cause = getattr(error, 'inner_exception', error)
    return next((line.strip() for line in str(cause).splitlines() if line.strip()), repr(cause))


def peak_memory(device: torch.device) -> str:
    """The most memory that this process has held: on the GPU, or in RAM."""
    if device.type == 'cuda':
        return f'{torch.cuda.max_memory_allocated(device) / 2 ** 30:.2f} GiB on {torch.cuda.get_device_name(device)}'
    try:
        import resource
    except ImportError:   # Windows
        return 'unknown'
    unit = 1 if sys.platform == 'darwin' else 1024
    return f'{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2 ** 30:.2f} GiB'


def name_of_device(device: torch.device) -> str:
    """The device and what it is called, as far as the system says it."""
    if device.type == 'cuda':
        return f'{device}, {torch.cuda.get_device_name(device)}'
    called = platform.processor()
    with contextlib.suppress(OSError):   # Linux
        lines = Path('/proc/cpuinfo').read_text(errors='replace').splitlines()
        called = next((line.partition(':')[2].strip() for line in lines if line.startswith('model name')), called)
    return f'{device}, {called}' if called else str(device)


def make_folder(path: str | Path, flag: str) -> Path:
    """Make the folder that `flag` names, with its parents, and try that it can be written.

    Raises:
        BadInput: it cannot be made or written.
    """
    if not str(path):
        raise BadInput(f'{flag}: an empty text names no folder; the one you are in is .')
    path = Path(path)
    made = []
    try:
        for folder in [*reversed(path.parents), path]:
            if not os.path.isdir(folder):
                folder.mkdir(exist_ok=True)
                made.append(folder)
        with tempfile.TemporaryFile(dir=path):   # what permissions say is not all: a disk may be read-only
            pass
    except (OSError, ValueError) as error:
        for folder in reversed(made):
            with contextlib.suppress(OSError):   # filled by another process meanwhile
                folder.rmdir()
        reason = getattr(error, 'strerror', None) or error
        if path not in made and os.path.isdir(path):
            raise BadInput(f'{flag} {shown(path)}: cannot be written ({reason})') from None
        raise BadInput(f'{flag} {shown(path)}: cannot be made a folder ({reason})') from None
    return path


def part_of(path: Path) -> Path:
    """Where a file is written until it is whole; its ending says the format."""
    return path.with_name(f'{path.stem}.part{path.suffix}')


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file that is written beside `path`, and takes its place when the block ends well; else it is taken away.

    Raises:
        BadInput: it cannot be written.
    """
    beside = part_of(path)
    try:
        yield beside
        os.replace(beside, path)
    except OSError as error:
        raise BadInput(f'{shown(path)}: cannot be written ({error.strerror or error})') from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------------------------------
# Threads beside the compute
# ---------------------------------------------------------------------------------------------------------------------

class Beside:
    """Calls that threads make while the main one goes on; at most `most` wait, then it waits for them.

    The first error of a call is raised by a later `call` or at the end of the `with` block; an error in the block
    itself drops the calls that have not begun. Without workers, calls are made at once.
    """

    def __init__(self, workers: int, most: int):
        self.pool = ThreadPoolExecutor(workers) if workers else None
        self.most, self.pending = most, deque()

    def call(self, function: Callable[..., None], *arguments) -> None:
        if self.pool is None:
            function(*arguments)
            return
        while self.pending and (self.pending[0].done() or len(self.pending) >= self.most):
            self.pending.popleft().result()
        self.pending.append(self.pool.submit(function, *arguments))

    def __enter__(self) -> 'Beside':
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        try:
            while self.pending and kind is None:
                self.pending.popleft().result()
        finally:
            if self.pool:
                self.pool.shutdown(cancel_futures=True)


# ---------------------------------------------------------------------------------------------------------------------
# Pictures
# ---------------------------------------------------------------------------------------------------------------------

def to_picture(images: Tensor, normalize: bool = False) -> Tensor:
    """Images (…, C, H, W) in [-1, 1] -> values in [0, 1] on their device, the decoder's own colours.

    Args:
        normalize: stretch each image to the full range instead, as the original did.
    """
    images = images.detach().float()
    if normalize:
        low, high = images.amin((-3, -2, -1), keepdim=True), images.amax((-3, -2, -1), keepdim=True)
        return (images - low) / (high - low).clamp(min=1e-5)
    return ((images + 1) / 2).clamp(0, 1)


def to_bytes(pictures: Tensor) -> Tensor:
    """Pictures (…, C, H, W) in [0, 1] -> their bytes (…, H, W, C), a quarter of the size, on their device."""
    return pictures.mul(255).add(0.5).clamp(0, 255).byte().movedim(-3, -1).contiguous()


def to_host(tensor: Tensor) -> tuple[Tensor, Callable[[], None]]:
    """The tensor on the CPU, and what waits until it is there: a CUDA device copies it while it goes on computing."""
    if tensor.device.type != 'cuda':
        return tensor.cpu(), lambda: None
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(tensor.device))
    return host, copied.synchronize


def write_picture(picture: Tensor, path: Path) -> None:
    """Write a picture (1 or 3, H, W) in [0, 1]; the ending of the name says the format."""
    write_bytes(to_bytes(picture), path)


def write_bytes(pixels: Tensor, path: Path) -> None:
    """Write a picture given as bytes (H, W, 1 or 3)."""
    array = pixels.cpu().numpy()
    options = {'quality': 95, 'subsampling': 0} if path.suffix.lower() in ('.jpg', '.jpeg') else {}
    Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).save(path, **options)


def write_output(pixels: Tensor, path: Path, ready: Callable[[], None] = lambda: None) -> None:
    """As `write_picture`, a picture given as bytes (H, W, 1 or 3) that are there when `ready` returns.

    Raises:
        BadInput: it cannot be written, for the disk is full or the like.
    """
    ready()
    try:
        write_bytes(pixels, path)
    except OSError as error:
        raise BadInput(f'{path}: cannot be written ({error.strerror or error})') from None


def picture_grid(rows: Sequence[Tensor]) -> Tensor:
    """Rows of images, each (N, 1 or 3, H, W) in [-1, 1] -> one picture (3, rows·H, N·W) in [0, 1]."""
    return torch.cat([torch.cat(list(to_picture(row).expand(-1, 3, -1, -1)), dim=2) for row in rows], dim=1).cpu()
