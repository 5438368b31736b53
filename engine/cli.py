"""The command line: parsers shared by all commands, and exit statuses."""
import argparse
import contextlib
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import torch

from core import distributed
from core.errors import BadInput, OneLineParser, RunEnded, shown
from core.precision import PRECISIONS
from core.safetensors_file import is_safetensors
from core.streams import READER_GONE, flush_standard_streams, is_reader_gone, open_standard_streams
from data import MAX_IMAGE_PIXELS
from engine.methods import METHODS


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults in the help, except None, False and the empty string."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, '') else super()._get_help_string(action)


class Parser(OneLineParser):
    """A parser with the flags that all commands share.

    Args:
        config: default of --config.
        config_required: whether --config is required if it has no default. If not, its parsed value can be None, for
            checkpoints that contain their config; see `engine.config.config_for`.
    """

    def __init__(self, description: str, config: str | None = None, config_required: bool = True):
        super().__init__(description=description, formatter_class=_Help)
        self.default_config = config
        words = [f'default: {config}'] if config else []
        words += [] if config_required else ['not needed for a .safetensors file, which contains it']
        self.add_argument('--config', required=config_required and config is None,
                          help='YAML file of the run' + (f' ({"; ".join(words)})' if words else ''))
        self.add_argument('--trainer', default='MUNIT', choices=tuple(METHODS), help='the method')
        self.add_argument('--device', default='auto', help='auto, cpu, cuda, cuda:N or mps; auto chooses the fastest')
        self.add_argument('--output_path', default='.', help='folder in which train.py writes logs/ and outputs/')
        self.add_argument('--max_image_pixels', type=at_least(1), default=MAX_IMAGE_PIXELS,
                          help='reject images with more pixels than this, in the file or after resizing')

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        # argparse takes arguments that begin with a minus for flags, except for single numbers. A style code is a list
        # of numbers, and is only recognised as a value if a space precedes it.
        words = [_expand_user(word) for word in (sys.argv[1:] if args is None else args)]
        words = [f' {word}' if re.match(r'-[\d.][^,]*,', word) else word for word in words]
        found, rest = super().parse_known_args(words, namespace)
        if found.config is None and not is_safetensors(getattr(found, 'checkpoint', '')):
            found.config = self.default_config
        return found, rest


def _expand_user(word: str) -> str:
    """Replace a leading ~ by the home folder, which shells do for `--flag ~/x` but not for `--flag=~/x`."""
    flag, value = match.groups() if (match := re.fullmatch(r'(--\w+=)?(~.*)', word, re.DOTALL)) else ('', word)
    return (flag or '') + os.path.expanduser(value)


class DirectionParser(Parser):
    """A parser for commands that use one direction of a model and write to a folder."""

    def __init__(self, description: str, config: str | None = None, output_folder: str | None = None):
        super().__init__(description, config, config_required=False)
        self.add_argument('--output_folder', required=output_folder is None, default=output_folder,
                          help='folder for the results')
        add_direction(self)


class TranslationParser(DirectionParser):
    """A parser with the flags that test.py and test_batch.py share."""

    def __init__(self, description: str, seed: int, config: str | None = None):
        super().__init__(description, config)
        add_seed(self, seed, 'random seed of the sampled styles')
        self.add_argument('--num_style', type=at_least(1, 10_000), default=10, help='number of styles to sample')
        self.add_argument('--synchronized', action='store_true', help='use the same styles for all inputs')
        self.add_argument('--format', choices=('jpg', 'png', 'webp', 'tif', 'npy'),
                          help='format of the outputs; only jpg is lossy, and npy contains 32-bit numbers (default: '
                               'jpg for test.py, the format of the input for test_batch.py, and npy if outputs have '
                               'other than 1 or 3 channels)')
        self.add_argument('--output_only', action='store_true',
                          help='do not write copies of the inputs to the output folder')
        add_new_size(self)
        self.add_argument('--normalize', action='store_true',
                          help='rescale each output to the full range of values, as the original does')
        add_compute(self)


def add_direction(parser: argparse.ArgumentParser) -> None:
    """Add the flags --checkpoint and --a2b."""
    parser.add_argument('--checkpoint', required=True,
                        help='generators: gen_XXXXXXXX.pt, or a .safetensors file exported from it')
    parser.add_argument('--a2b', type=int, default=1, choices=(0, 1), help='1: from A to B; 0: from B to A')


def add_seed(parser: argparse.ArgumentParser, default: int, words: str) -> None:
    """Add the flag --seed."""
    parser.add_argument('--seed', type=at_least(-2 ** 63, 2 ** 63 - 1), default=default, help=words)


def add_compute(parser: argparse.ArgumentParser) -> None:
    """Add the flags --precision, --encoder_noise and --compile."""
    parser.add_argument('--precision', default='fp32', choices=PRECISIONS,
                        help='fp32: as the original; tf32, bf16: faster and less exact, on GPUs that support them')
    add_encoder_noise(parser)
    parser.add_argument('--compile', action='store_true',
                        help='compile the networks, which takes about a minute and is worthwhile for large folders')


def add_new_size(parser: argparse.ArgumentParser) -> None:
    """Add the flag --new_size."""
    parser.add_argument('--new_size', type=at_least(0), help="resize the shorter side to this; 0: keep the size of the "
                        "file (default: the config's new_size)")


def add_encoder_noise(parser: argparse.ArgumentParser) -> None:
    """Add the flag --encoder_noise."""
    parser.add_argument('--encoder_noise', action='store_true',
                        help="--trainer UNIT: add the encoder's noise, so that an input has as many different outputs "
                             'as other methods have styles')


def at_least(low: int, high: int = 2 ** 62) -> Callable[[str], int]:
    """Return an argparse type for whole numbers from `low` to `high`."""
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low:
            least = f' of at least {low}' if low > -2 ** 62 else ''
            raise argparse.ArgumentTypeError(f'{shown(repr(text), 80)} is not a whole number{least}')
        if value > high:
            raise argparse.ArgumentTypeError(f'{shown(repr(text), 80)} is more than {high}')
        return value
    return parse


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command's main function and exit with its status. For a user's mistake, print its message to stderr and
    exit with status 2.
    """
    open_standard_streams()
    for output in (sys.stdout, sys.stderr):   # an encoding without the × sign must not end a run
        if hasattr(output, 'reconfigure'):
            output.reconfigure(errors='replace')
    try:
        status = main() or 0
    except (BadInput, RunEnded, distributed.OtherProcessEnded) as error:
        status = getattr(error, 'status', 1 if isinstance(error, distributed.OtherProcessEnded) else 2)
        with contextlib.suppress(OSError):   # stderr may be a file on a full disk
            print(error, file=sys.stderr)
    except (MemoryError, RuntimeError) as error:
        # While training on a GPU, train.py prints a more detailed message.
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "can't allocate memory" not in str(error):
            raise
        print('not enough memory for networks and images of this size: lower gen.dim, dis.dim, batch_size, or the size '
              'of the images', file=sys.stderr)
        status = 2
    except BrokenPipeError:   # the reader of the output, such as head or a pager, has closed it
        if not is_reader_gone():
            raise
        status = READER_GONE
    except KeyboardInterrupt:   # training handles this itself, so there is nothing to save here
        status = 130
    flush_standard_streams()
    distributed.leave(status)
    sys.exit(status)
