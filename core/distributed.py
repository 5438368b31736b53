"""Several processes that train as one, a GPU each (CPUs too): started by torchrun, which sets the variables read here.

N processes at batch b do what one process does at batch N·b: each holds the whole trainer, takes its share of every
batch and of the noise, and steps with the mean of all gradients. Alone, everything here is free of effect.
"""
import os
import sys
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from core.errors import BadInput, shown

VARIABLES = ('RANK', 'MASTER_ADDR', 'MASTER_PORT')   # that torchrun sets
BUCKET_BYTES = 25 * 2 ** 20   # gradients travel in parcels of this size: few enough calls, and little memory beside


class OtherProcessEnded(Exception):
    """Another of the processes has ended, so this one cannot continue. The message of that process says why."""


def rank() -> int:
    """The number of this process, 0 to world_size() − 1. Process 0 writes the files and shows the bar."""
    return _number_of('RANK', 0)


def world_size() -> int:
    """How many processes train together."""
    return _number_of('WORLD_SIZE', 1)


def _number_of(variable: str, otherwise: int) -> int:
    text = os.environ.get(variable, '').strip()
    if not text:   # job scripts set what they do not know to nothing
        return otherwise
    try:
        return int(text)
    except ValueError:
        raise BadInput(f'the environment variable {variable} is {shown(repr(text), 80)}, not a number; unset it, or '
                       f'start with torchrun, which sets it') from None


def start(device_name: str) -> str:
    """Join the other processes; the name of this one's device.

    Args:
        device_name: --device: auto, cpu or cuda. Each process of a machine takes the GPU of its number there.

    Raises:
        BadInput: a device that all processes would share, fewer GPUs than processes, or variables that are missing.
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
        # NVIDIA's library for what lies on GPUs, gloo for what does not: the signal to stop, the losses of the log.
        dist.init_process_group('cpu:gloo,cuda:nccl', device_id=torch.device(device_name))
    else:
        dist.init_process_group('gloo')
    return device_name


def leave(status: int) -> None:
    """End this process at once, where several train together; without effect where it is alone.

    After gloo a process that ends in the usual way sometimes dies at it, of a race between threads that are no longer
    wanted, and torchrun then reports a failure. Everything is written and closed by now.
    """
    if dist.is_initialized():
        if status == 0:
            dist.destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def share_of(batch: Tensor) -> Tensor:
    """This process's part of what was drawn for all of them: (N·b, …) -> (b, …)."""
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
    """The losses of the whole batch, as numbers: the means over the processes."""
    values = torch.stack([loss.detach().float() for loss in losses.values()]).cpu()
    if world_size() > 1:
        _all_reduce(values)
        values /= world_size()
    return dict(zip(losses, values.tolist(), strict=True))


def agreed(value: int) -> int:
    """The largest of the processes' values, known to all of them (values at least 0)."""
    if world_size() == 1:
        return value
    shared = torch.tensor(value)
    _all_reduce(shared, dist.ReduceOp.MAX)
    return int(shared)


def check_same(value: int, otherwise: str) -> None:
    """Make sure that the processes hold the same number.

    Raises:
        BadInput: with the text `otherwise`.
    """
    if world_size() > 1 and agreed(value) != (2 ** 62 - agreed(2 ** 62 - value)):
        raise BadInput(otherwise)


def share_batch_norms(trainer: torch.nn.Module, device: torch.device) -> None:
    """Let batch norms, if there are any, take their statistics over the whole batch and not over one process's share.

    Raises:
        BadInput: on CPUs, for which PyTorch has no such layer.
    """
    if world_size() == 1 or not any(isinstance(module, torch.nn.BatchNorm2d) for module in trainer.modules()):
        return
    if device.type != 'cuda':
        raise BadInput('dis.norm: bn cannot be shared by several processes on CPUs; take another norm, or one process')
    torch.nn.SyncBatchNorm.convert_sync_batchnorm(trainer)
