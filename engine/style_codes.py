"""Read, write and interpolate style codes.

In a text file, each line is a code: its numbers, separated by commas or spaces. Empty lines and comments, which begin
with #, are ignored. Numbers are written with nine significant digits, which restore the same 32-bit values.
"""
import argparse
import math
import os
import re
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from core.errors import BadInput, shown, why_no_file
from core.files import make_folder, replace_text
from engine.methods import METHODS
from engine.translator import Translator

MAX_CODES = 10_000             # as many as --num_style allows
MAX_CODE_BYTES = 16 * 2 ** 20


class Style(NamedTuple):
    """A style: its code (1, style_dim, 1, 1), and the image or the text that labels it in the margin of a sheet."""
    code: Tensor
    margin: Tensor | str


def add_code_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags --style_code and --save_styles."""
    parser.add_argument('--style_code', default='', help='a style code, "0.3,-1.2,…", or a text file with a code per '
                                                         'line; there is one output per code, and none is sampled')
    parser.add_argument('--save_styles', default='', help='write the style codes of the outputs to this text file, one '
                                                          'per line, for --style_code')


def check_code_flags(opts: argparse.Namespace) -> None:
    """Check the two flags as far as possible before anything is loaded.

    Raises:
        BadInput: the method has no style codes, or --style_code is given together with --style.
    """
    for flag in ('style_code', 'save_styles'):
        if getattr(opts, flag) and not METHODS[opts.trainer].guided:
            raise BadInput(f'--{flag} {shown(getattr(opts, flag), 80)}: {opts.trainer} has no style codes; leave it '
                           f'out, or use --trainer MUNIT')
    if opts.style_code and getattr(opts, 'style', ''):
        raise BadInput('--style_code: cannot be combined with --style, which also sets the style; leave out one of '
                       'them')


def read_codes(given: str | Path, length: int, flag: str) -> Tensor:
    """Read style codes from a file, or one code from the text itself.

    Args:
        given: the value of the flag; where a file of this name exists, the file is read.
        length: numbers per code.
        flag: the flag, for messages.

    Returns:
        (n, length, 1, 1), 32-bit, on the CPU.

    Raises:
        BadInput: there is no such file, it is empty, or a code has another length or a value that is not a finite
            number. For a file, the message gives the line.
    """
    given = str(given).strip()
    named = f'{flag} {shown(given, 120)}'
    fault = why_no_file(given)
    if not fault:
        return _codes_of_file(given, length, named)
    if fault.startswith('No such file') and not re.search(r'[,\s]', given) and not _is_number(given):
        raise BadInput(f'{named}: no such file, and not numbers separated by commas')
    if os.path.exists(given):
        raise BadInput(f'{named}: {fault}')
    return torch.tensor([_numbers(given, length, named)])[:, :, None, None]


def code_text(code: Tensor) -> str:
    """A code (length, 1, 1) as a line of text, from which `read_codes` restores the same 32-bit values."""
    return ','.join(f'{number:.9g}' for number in code.flatten().tolist())


def write_codes(codes: Tensor, path: str | Path, flag: str) -> None:
    """Write codes (n, length, 1, 1) to a text file, atomically.

    Raises:
        BadInput: the file cannot be written.
    """
    path = Path(path)
    make_folder(path.parent, flag)
    try:
        replace_text(path, ''.join(f'{code_text(code)}\n' for code in codes))
    except (OSError, ValueError) as error:
        raise BadInput(f'{flag} {shown(path)}: cannot be written ({getattr(error, "strerror", error)})') from None


def given_codes(opts: argparse.Namespace, translator: Translator) -> Tensor | None:
    """The codes of --style_code on the translator's device; None without the flag. Errors are those of `read_codes`."""
    if not opts.style_code:
        return None
    return read_codes(opts.style_code, translator.style_length, '--style_code').to(translator.device)


def find_styles(given: str, translator: Translator, flag: str, new_size: int | None = None) -> list[Style]:
    """The styles that a flag names: by a seed, an image, a style code, or a text file of several codes.

    Raises:
        BadInput: the seed is too large, the image cannot be read, or a code is not valid for this model.
    """
    given = given.strip()
    if re.fullmatch(r'[+-]?[0-9]+', given):
        if not -2 ** 63 <= int(given[:30]) < 2 ** 63:
            raise BadInput(f'{flag} {shown(given, 80)}: a seed has at most 63 bits; choose a smaller number')
        code = translator.draw_styles(1, generator=torch.Generator().manual_seed(int(given)))
        return [Style(code, f'seed\n{int(given)}')]
    if os.path.exists(given) and not given.lower().endswith('.txt'):
        image = translator.read(given, translator.target, new_size)
        return [Style(translator.encode_style(image), image[0])]
    codes = read_codes(given, translator.style_length, flag).to(translator.device)
    name = Path(given).stem if os.path.exists(given) else ''
    return [Style(code, f'code {i + 1}' + (f'\n{shown(name, 16)}' if name else ''))
            for i, code in enumerate(codes.split(1))]


def slerp(first: Tensor, second: Tensor, t: float) -> Tensor:
    """Spherical linear interpolation between two style codes of the same shape.

    The direction moves along the great circle at constant speed, and the length changes linearly from one code's to the
    other's. Sampled codes of n numbers have a length of about √n, but the midpoint of two of them is about 30 percent
    shorter, a length that training hardly ever samples. Codes of encoded images differ in length and keep it.

    Between opposite codes, where no great circle is the shortest, a fixed one is used. If a code is zero, and so has no
    direction, the interpolation is linear.

    Args:
        t: position from 0, the first code, to 1, the second.
    """
    a, b = first.double().flatten(), second.double().flatten()
    length_a, length_b = float(a.norm()), float(b.norm())
    if not (length_a and length_b) or t in (0, 1):
        return torch.lerp(first, second, float(t))
    a, b = a / length_a, b / length_b
    cosine = float(a @ b)
    across = b - cosine * a                       # the component of b that is orthogonal to a
    if float(across.norm()) < 1e-6:               # equal or opposite directions
        if cosine > 0 or len(a) == 1:
            return torch.lerp(first, second, float(t))
        across = torch.zeros_like(a)
        across[a.abs().argmin()] = 1
        across = across - (across @ a) * a
    angle = math.acos(max(-1.0, min(1.0, cosine))) * t
    direction = math.cos(angle) * a + math.sin(angle) * across / across.norm()
    return ((length_a + t * (length_b - length_a)) * direction).to(first.dtype).view(first.shape)


def _codes_of_file(path: str, length: int, named: str) -> Tensor:
    try:
        if os.path.getsize(path) > MAX_CODE_BYTES:
            raise BadInput(f'{named}: more than {MAX_CODE_BYTES >> 20} MiB, too large for a file of style codes')
        text = Path(path).read_text(encoding='utf-8-sig')
    except OSError as error:
        raise BadInput(f'{named}: {error.strerror or "cannot be read"}') from None
    except UnicodeDecodeError:
        raise BadInput(f'{named}: not a text file of style codes, one per line') from None
    codes = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.split('#')[0].strip()
        if line:
            codes.append(_numbers(line, length, f'{named}, line {number}'))
        if len(codes) > MAX_CODES:
            raise BadInput(f'{named}: more than {MAX_CODES} codes')
    if not codes:
        raise BadInput(f'{named}: contains no style code; write one per line, {length} numbers separated by commas')
    return torch.tensor(codes)[:, :, None, None]


def _numbers(text: str, length: int, named: str) -> list[float]:
    words = [word.strip() for word in text.split(',')] if ',' in text else text.split()
    if len(words) != length:
        raise BadInput(f'{named}: has {len(words)} numbers; a style code of this model has {length}')
    for word in words:
        if not _is_number(word):
            raise BadInput(f'{named}: {shown(repr(word), 80)} is not a number')
        if not torch.tensor(float(word)).isfinite():   # as a 32-bit float, in which 1e39 is infinite
            raise BadInput(f'{named}: {shown(repr(word), 80)} is not a finite number')
    return [float(word) for word in words]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
