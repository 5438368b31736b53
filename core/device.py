"""Choosing and describing the device that computes."""
import contextlib
import platform
import re
import sys
from pathlib import Path

import torch

from core.errors import BadInput, shown


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


def name_of_device(device: torch.device) -> str:
    """The device and its model name, if the system reports one."""
    if device.type == 'cuda':
        return f'{device}, {torch.cuda.get_device_name(device)}'
    called = platform.processor()
    with contextlib.suppress(OSError):   # Linux
        lines = Path('/proc/cpuinfo').read_text(errors='replace').splitlines()
        called = next((line.partition(':')[2].strip() for line in lines if line.startswith('model name')), called)
    return f'{device}, {called}' if called else str(device)


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


def reason_of(error: Exception) -> str:
    """The first line of what PyTorch's compiler says."""
    cause = getattr(error, 'inner_exception', error)
    return next((line.strip() for line in str(cause).splitlines() if line.strip()), repr(cause))
