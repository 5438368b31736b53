"""Data-parallel training in several processes, one per GPU (or on CPUs), started by torchrun.

N processes with batch size b compute what one process computes with batch size N·b: each has the whole trainer, takes
its share of every batch and of the noise, and steps with the mean of all gradients. In a single process, these
functions have no effect.
"""
import os
import sys
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from core.errors import BadInput, shown

VARIABLES = ('RANK', 'MASTER_ADDR', 'MASTER_PORT')   # set by torchrun
BUCKET_BYTES = 25 * 2 ** 20   # size of the buckets in which gradients are averaged: few calls and little extra memory


class OtherProcessEnded(Exception):
    """Another process has ended, so that this one cannot continue. The message of that process says why."""


def rank() -> int:
    """The number of this process, 0 to world_size() − 1. Process 0 writes the files and shows the progress bar."""
    return _number_of('RANK', 0)


def world_size() -> int:
    """The number of processes that train together."""
    return _number_of('WORLD_SIZE', 1)


def _number_of(variable: str, otherwise: int) -> int:
    text = os.environ.get(variable, '').strip()
    if not text:   # job scripts may set unknown variables to empty strings
        return otherwise
    try:
        return int(text)
    except ValueError:
        raise BadInput(f'the environment variable {variable} is {shown(repr(text), 80)}, not a number; unset it, or '
                       f'start with torchrun, which sets it') from None


def start(device_name: str) -> str:
    """Join the other processes.

    Args:
        device_name: the value of --device: auto, cpu or cuda. Each process of a machine takes the GPU of its local
            rank.

    Returns:
        The name of this process's device.

    Raises:
        BadInput: all processes would share one device, there are fewer GPUs than processes, or environment variables
            are missing.
    """
    if world_size() == 1:
        return device_name
    if device_name == 'auto':
        device_name = 'cuda' if torch.cuda.is_available() else 'cpu'
    needed = VARIABLES if device_name == 'cpu' else (*VARIABLES, 'LOCAL_RANK')
    if missing := [name for name in needed if not os.environ.get(name)]:
        raise BadInput(f'the environment variable WORLD_SIZE is {world_size()}, but {" and ".join(missing)} '
                       f'{"is" if len(missing) == 1 else "are"} not set: for several processes, start with torchrun '
                       f'--nproc_per_node {world_size()}; for one, unset WORLD_SIZE')
    if device_name not in ('cuda', 'cpu'):
        raise BadInput(f'--device {device_name}: several processes would share it; use auto, cuda or cpu')
    if device_name == 'cuda':
        local, there = _number_of('LOCAL_RANK', 0), torch.cuda.device_count()
        if local >= there:
            raise BadInput(f'--nproc_per_node {_number_of("LOCAL_WORLD_SIZE", world_size())}: this machine has {there} '
                           f'GPUs; start no more processes than that')
        torch.cuda.set_device(local)
        device_name = f'cuda:{local}'
        # NCCL for tensors on GPUs; gloo for tensors on the CPU, which are the signal to stop and the logged losses.
        dist.init_process_group('cpu:gloo,cuda:nccl', device_id=torch.device(device_name))
    else:
        dist.init_process_group('gloo')
    return device_name


def leave(status: int) -> None:
    """Exit at once if several processes train together; otherwise do nothing. All files must be written and closed.

    A process that has used gloo sometimes crashes during normal exit because of a race between background threads, and
    torchrun then reports a failure.
    """
    if dist.is_initialized():
        if status == 0:
            dist.destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def share_of(batch: Tensor) -> Tensor:
    """This process's share of a tensor that was drawn for all processes: (N·b, …) -> (b, …)."""
    return batch.chunk(world_size())[rank()]


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by its mean over the processes.

    Every loss is a mean over the images of a batch, so the mean of the processes' gradients is the gradient of the
    whole batch.
    """
    if world_size() == 1:
        return
    bucket, size = [], 0
    for gradient in [p.grad for p in parameters if p.grad is not None]:
        bucket.append(gradient)
        size += gradient.numel() * gradient.element_size()
        if size >= BUCKET_BYTES:
            _average_in_place(bucket)
            bucket, size = [], 0
    if bucket:
        _average_in_place(bucket)


def _average_in_place(tensors: list[Tensor]) -> None:
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    _all_reduce(flat)
    flat /= world_size()
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def _all_reduce(tensor: Tensor, how: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> None:
    try:
        dist.all_reduce(tensor, how)
    except RuntimeError as error:
        raise OtherProcessEnded(f'process {rank()}: another process has ended, see its message '
                                f'({str(error).splitlines()[0]})') from None


def average(losses: dict[str, Tensor]) -> dict[str, float]:
    """The losses of the whole batch: means over the processes."""
    values = torch.stack([loss.detach().float() for loss in losses.values()]).cpu()
    if world_size() > 1:
        _all_reduce(values)
        values /= world_size()
    return dict(zip(losses, values.tolist(), strict=True))


def agreed(value: int) -> int:
    """The maximum of a value, at least 0, over the processes."""
    if world_size() == 1:
        return value
    shared = torch.tensor(value)
    _all_reduce(shared, dist.ReduceOp.MAX)
    return int(shared)


def check_same(value: int, otherwise: str) -> None:
    """Check that all processes have the same value.

    Raises:
        BadInput: they do not; the message is `otherwise`.
    """
    if world_size() > 1 and agreed(value) != (2 ** 62 - agreed(2 ** 62 - value)):
        raise BadInput(otherwise)


def share_batch_norms(trainer: torch.nn.Module, device: torch.device) -> None:
    """Make batch norm layers, if there are any, compute their statistics over the whole batch instead of this process's
    share.

    Raises:
        BadInput: the device is a CPU, for which PyTorch has no synchronized batch norm.
    """
    if world_size() == 1 or not any(isinstance(module, torch.nn.BatchNorm2d) for module in trainer.modules()):
        return
    if device.type != 'cuda':
        raise BadInput('dis.norm: bn does not work in several processes on CPUs; use another norm, or one process')
    torch.nn.SyncBatchNorm.convert_sync_batchnorm(trainer)
