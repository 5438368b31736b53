"""Validation of the state in a snapshot before any of it is used.

The trainer checks whether a state fits the networks of the config. Settings of the optimizers come from the config and
are never taken from a file.
"""
import itertools
import math
import zlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from core.errors import shown

LARGEST_COUNT = 2 ** 53
LARGEST_STATE = 1_000_000   # number of values; a run has a few thousand
COUNTS = ('seed', 'drawn', 'bad_steps', 'bad_in_a_row', 'rollbacks', 'halved_until')   # entries of `progress`
SECTIONS = ('progress', 'display_styles', 'grad_clip', 'memory')
NOT_NEGATIVE = ('exp_avg_sq', 'square', 'kept', 'seen', 'steps', 'clipped', 'step')
MOMENTS = ('step', 'exp_avg', 'exp_avg_sq')
NOT_SEALED = ('seal', 'checksums')


class NotFinite(ArithmeticError):
    """A tensor that is about to be saved contains values that are NaN or infinite."""


def leaves(content: Any, name: str = '') -> Iterator[tuple[str, Any]]:
    """The leaves of nested containers, including empty containers, each with its path such as 'progress.seed'."""
    if isinstance(content, (dict, list, tuple)) and content:
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from leaves(value, f'{name}.{key}' if name else str(key))
    else:
        yield name, content


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite, in one pass and without allocating a mask."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return bool(torch.stack(tensor.detach().aminmax()).isfinite().all())


def refuse_not_finite(content: dict) -> None:
    """Check that all tensors are finite.

    Raises:
        NotFinite: a value is NaN or infinite.
    """
    for name, value in leaves(content):
        if isinstance(value, Tensor) and not is_finite(value):
            raise NotFinite(f'weights or moments are not finite ({name})')


# ---------------------------------------------------------------------------------------------------------------------
# The seal
# ---------------------------------------------------------------------------------------------------------------------

def seal_of(content: dict) -> int:
    """A checksum of all values in a state, which reveals a state that was modified and saved again."""
    checksum = 0
    for name, value in leaves({key: value for key, value in content.items() if key not in NOT_SEALED}):
        text = f'{value.dtype}{tuple(value.shape)}{_sum_of_bits(value)}' if isinstance(value, Tensor) else repr(value)
        checksum = zlib.crc32(f'{name}={text}\n'.encode('utf-8', 'backslashreplace'), checksum)
    return checksum


def _sum_of_bits(tensor: Tensor) -> int:
    """The sum of a tensor's bytes as 64-bit integers, modulo 2^64; it runs at memory speed on any device."""
    flat = tensor.detach().contiguous().flatten()
    if flat.storage_offset() * flat.itemsize % 8:
        flat = flat.clone()
    whole = flat.numel() * flat.itemsize // 8 * 8 // flat.itemsize
    rest = flat[whole:].cpu().view(torch.uint8).tolist() if whole < flat.numel() else []
    total = int(flat[:whole].view(torch.int64).sum()) if whole else 0
    return (total + int.from_bytes(bytes(rest), 'little')) % 2 ** 64


# ---------------------------------------------------------------------------------------------------------------------
# Allowed values
# ---------------------------------------------------------------------------------------------------------------------

def fault_of_state(state: dict) -> str:
    """Why a state cannot be used, as the end of a message that names its file; '' if it can."""
    try:
        if sum(1 for _ in itertools.islice(leaves(state), LARGEST_STATE)) == LARGEST_STATE:
            return f'it holds more than {LARGEST_STATE} values'
    except RecursionError:   # a pickle can hold a list that contains itself
        return 'its content is nested without end'
    if 'seal' in state and not (type(state['seal']) is int and state['seal'] == seal_of(state)):
        return 'its content is not what was written'
    for name in SECTIONS:
        if not isinstance(state.get(name, {}), dict):
            return f'{name} is a {type(state[name]).__name__}'
    for kind, optimizer in state.items():
        if isinstance(optimizer, dict) and 'state' in optimizer and (fault := _fault_of_moments(optimizer['state'])):
            return f'{shown(kind, 80)}: {fault}'
    progress = state.get('progress', {})
    for name in COUNTS:
        if not _is_count(progress.get(name, 0)):
            return f'{name} is {shown(repr(progress[name]), 80)}, not a whole number from 0 to 2^53'
    for section in SECTIONS:
        for name, value in leaves(state.get(section, {}), section):
            if isinstance(value, Tensor) and (fault := _fault_of_tensor(name, value)):
                return fault
            if isinstance(value, float) and not math.isfinite(value):
                return f'{shown(name, 80)} is not finite'
    return ''


def _fault_of_moments(moments: Any) -> str:
    entries = list(moments.values()) if isinstance(moments, dict) else []
    steps = set()
    for entry in entries:
        if not isinstance(entry, dict) or not all(name in entry for name in MOMENTS):
            continue   # not Adam's, which the trainer reports
        step = entry['step']
        step = step.item() if isinstance(step, Tensor) and step.numel() == 1 else step
        if not _is_count(int(step) if type(step) is float and step.is_integer() else step):
            return f'a step is {shown(repr(step), 80)}, not a whole number from 0 to 2^53'
        steps.add(step)
        for name in MOMENTS[1:]:
            if isinstance(entry[name], Tensor) and (fault := _fault_of_tensor(name, entry[name])):
                return fault
    return 'its parameters have taken different numbers of steps' if len(steps) > 1 else ''


def _fault_of_tensor(name: str, tensor: Tensor) -> str:
    if not tensor.numel() or tensor.is_complex():
        return ''
    low, high = (tensor if tensor.dtype != torch.bool else tensor.int()).aminmax()
    if not (torch.isfinite(low) and torch.isfinite(high)):
        return f'{shown(name, 80)} holds numbers that are NaN or infinite'
    if name.rsplit('.', 1)[-1] in NOT_NEGATIVE and low < 0:
        return f'{shown(name, 80)} holds negative numbers'
    return ''


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_COUNT
