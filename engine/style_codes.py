"""Style codes as text, so that a style can be kept and used again; and what lies between two of them.

A code is a line: its numbers, parted by commas or else by spaces. Empty lines, and what follows a #, are passed over.
Numbers are written with nine digits, from which the same 32-bit numbers are read again.
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
from core.files import make_folder, replacing
from engine.methods import METHODS
from engine.translator import Translator

MAX_CODES = 10_000             # as many as --num_style allows
MAX_CODE_BYTES = 16 * 2 ** 20


class Style(NamedTuple):
    """A style: its code (1, style_dim, 1, 1), and what stands for it in a margin."""
    code: Tensor
    margin: Tensor | str


def add_code_flags(parser: argparse.ArgumentParser) -> None:
    """The flags --style_code and --save_styles."""
    parser.add_argument('--style_code', default='', help='the numbers of a style, "0.3,-1.2,…", or a file of one code '
                                                         'a line: an output for each, nothing is sampled')
    parser.add_argument('--save_styles', default='', help='write the codes that were used to this file, one a line, '
                                                          'for --style_code')


def check_code_flags(opts: argparse.Namespace) -> None:
    """What can be said of the two flags before anything is loaded.

    Raises:
        BadInput: a method without style codes, or --style_code together with --style.
    """
    for flag in ('style_code', 'save_styles'):
        if getattr(opts, flag) and not METHODS[opts.trainer].guided:
            raise BadInput(f'--{flag} {shown(getattr(opts, flag), 80)}: {opts.trainer} has no style codes; leave it '
                           f'out, or use --trainer MUNIT')
    if opts.style_code and getattr(opts, 'style', ''):
        raise BadInput('--style_code: not together with --style, which gives a style as well; leave out one of them')


def read_codes(given: str | Path, length: int, flag: str) -> Tensor:
    """The codes that are given as a file, or as the numbers of one.

    Args:
        given: what the user wrote; a file of this name is read as such.
        length: numbers in a code.
        flag: what it was given with.

    Returns:
        (n, length, 1, 1), 32-bit, on the CPU.

    Raises:
        BadInput: no such file, nothing in it, or a code with the wrong count, with what is no number, or with one that
            is not finite; files are told with the line.
    """
    given = str(given).strip()
    named = f'{flag} {shown(given, 120)}'
    fault = why_no_file(given)
    if not fault:
        return _codes_of_file(given, length, named)
    if fault.startswith('No such file') and not re.search(r'[,\s]', given) and not _is_number(given):
        raise BadInput(f'{named}: no such file, nor numbers parted by commas')
    if os.path.exists(given):
        raise BadInput(f'{named}: {fault}')
    return torch.tensor([_numbers(given, length, named)])[:, :, None, None]


def code_text(code: Tensor) -> str:
    """A code (length, 1, 1) as the line that `read_codes` reads, to the same 32-bit numbers."""
    return ','.join(f'{number:.9g}' for number in code.flatten().tolist())


def write_codes(codes: Tensor, path: str | Path, flag: str) -> None:
    """Write codes (n, length, 1, 1) to a text file, whole or not at all.

    Raises:
        BadInput: it cannot be written.
    """
    path = Path(path)
    make_folder(path.parent, flag)
    lines = [code_text(code) for code in codes]
    try:
        with replacing(path) as temporary:
            temporary.write_text('\n'.join(lines) + '\n', encoding='utf-8')
    except (OSError, ValueError) as error:
        raise BadInput(f'{flag} {shown(path)}: cannot be written ({getattr(error, "strerror", error)})') from None


def given_codes(opts: argparse.Namespace, translator: Translator) -> Tensor | None:
    """The codes of --style_code on the translator's device, None without the flag. Errors as for `read_codes`."""
    if not opts.style_code:
        return None
    return read_codes(opts.style_code, translator.style_length, '--style_code').to(translator.device)


def find_styles(given: str, translator: Translator, flag: str, new_size: int | None = None) -> list[Style]:
    """The styles that the user names with `given`: several where it is a file of codes.

    Raises:
        BadInput: a seed that is none, a picture that cannot be read, or a code that does not fit.
    """
    given = given.strip()
    if re.fullmatch(r'[+-]?[0-9]+', given):
        if not -2 ** 63 <= int(given[:30]) < 2 ** 63:
            raise BadInput(f'{flag} {shown(given, 80)}: a seed has at most 63 bits; take a smaller number')
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
    """What lies between two codes of any one shape, at t from 0 to 1: along the arc, not through the middle.

    The direction goes on the great circle at an even pace, the length in a straight line from one code's to the
    other's. Sampled codes all have about the length √n, and their straight middle is shorter by three tenths: a style
    that was hardly ever trained. Codes of encoded pictures are of many lengths; they turn in the same way, and their
    lengths are not pulled towards that of sampled ones. Between opposite codes every arc is as short as any other: one
    is taken, the same each time. A code of zeros has no direction: then it is a straight line.
    """
    a, b = first.double().flatten(), second.double().flatten()
    length_a, length_b = float(a.norm()), float(b.norm())
    if not (length_a and length_b) or t in (0, 1):
        return torch.lerp(first, second, float(t))
    a, b = a / length_a, b / length_b
    cosine = float(a @ b)
    across = b - cosine * a                       # what of b stands upright on a
    if float(across.norm()) < 1e-6:               # the same direction, or the opposite one
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
            raise BadInput(f'{named}: more than {MAX_CODE_BYTES >> 20} MiB, which is no file of style codes')
        text = Path(path).read_text(encoding='utf-8-sig')
    except OSError as error:
        raise BadInput(f'{named}: {error.strerror or "cannot be read"}') from None
    except UnicodeDecodeError:
        raise BadInput(f'{named}: not a text file of style codes, one a line') from None
    codes = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.split('#')[0].strip()
        if line:
            codes.append(_numbers(line, length, f'{named}, line {number}'))
        if len(codes) > MAX_CODES:
            raise BadInput(f'{named}: more than {MAX_CODES} codes')
    if not codes:
        raise BadInput(f'{named}: no style code in it; it holds one a line, {length} numbers parted by commas')
    return torch.tensor(codes)[:, :, None, None]


def _numbers(text: str, length: int, named: str) -> list[float]:
    words = [word.strip() for word in text.split(',')] if ',' in text else text.split()
    if len(words) != length:
        raise BadInput(f'{named}: {len(words)} numbers, a style of this model has {length}')
    for word in words:
        if not _is_number(word):
            raise BadInput(f'{named}: {shown(repr(word), 80)} is not a number')
        if not torch.tensor(float(word)).isfinite():   # in 32 bits, where 1e39 is infinite
            raise BadInput(f'{named}: {shown(repr(word), 80)} is not a finite number')
    return [float(word) for word in words]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
