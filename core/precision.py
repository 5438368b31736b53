"""Numerical precision: the choices that trade accuracy for speed, in one place.

    fp32   every product in 32 bits, as the original computed (the default)
    tf32   products of convolutions and matrices with 10 bits of mantissa, sums in 32 (NVIDIA GPUs since Ampere)
    bf16   products and activations in bfloat16; weights, their moments, the statistics of every norm,
           and the losses stay in 32 bits
"""
import contextlib
import functools
import os

import torch

PRECISIONS = ('fp32', 'tf32', 'bf16')


def set_precision(precision: str) -> None:
    """Let products of 32-bit numbers be rounded to TF32, or not, from now on in this process.

    PyTorch's own default lets convolutions round and matrix products not; fp32 here means neither.

    Raises:
        ValueError: `precision` is not one of fp32, tf32, bf16.
    """
    if precision not in PRECISIONS:
        raise ValueError(f'precision: {precision!r} is not one of {", ".join(PRECISIONS)}')
    rounded = precision != 'fp32'
    torch.set_float32_matmul_precision('high' if rounded else 'highest')
    torch.backends.cudnn.allow_tf32 = rounded


def autocast(precision: str, device: torch.device | str) -> contextlib.AbstractContextManager:
    """Where bf16 applies: layers called inside compute in bfloat16, those that need 32 bits do not. No effect on the
    device `meta`, for which PyTorch has no autocast.
    """
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16) if precision == 'bf16' and kind != 'meta' else contextlib.nullcontext()


def without_autocast(device: torch.device | str) -> contextlib.AbstractContextManager:
    """Inside, layers compute in 32 bits whatever `autocast` is around."""
    kind = torch.device(device).type
    # Not torch.amp.is_autocast_available: torch.compile cannot trace it before PyTorch 2.12.
    return torch.autocast(kind, enabled=False) if kind != 'meta' else contextlib.nullcontext()


def set_deterministic(deterministic: bool) -> None:
    """From now on in this process, choose deterministic kernels, or the fastest ones."""
    torch.backends.cudnn.benchmark = not deterministic
    torch.use_deterministic_algorithms(deterministic)
    if deterministic:
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')   # cuBLAS reads it at its first product


def in_precision(method):
    """Let a method of a trainer call its networks in the precision that its config asks for."""
    @functools.wraps(method)
    def in_that_precision(self, *args):
        with autocast(self.config['precision'], self.device):
            return method(self, *args)
    return in_that_precision
