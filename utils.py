"""Convert outputs of the networks to images: values, bytes and files."""
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.band_images import PICTURES
from core.errors import BadInput


def to_picture(images: Tensor, normalize: bool = False) -> Tensor:
    """Map images (…, C, H, W) from [-1, 1] to [0, 1], on the same device.

    Args:
        normalize: rescale each image to the full range, as the original does, instead of keeping the decoder's colours.
    """
    images = images.detach().float()
    if normalize:
        low, high = images.amin((-3, -2, -1), keepdim=True), images.amax((-3, -2, -1), keepdim=True)
        return (images - low) / (high - low).clamp(min=1e-5)
    return ((images + 1) / 2).clamp(0, 1)


def to_bytes(pictures: Tensor) -> Tensor:
    """Convert images (…, C, H, W) in [0, 1] to bytes (…, H, W, C), on the same device."""
    return pictures.mul(255).add(0.5).clamp(0, 255).byte().movedim(-3, -1).contiguous()


def to_pixels(pictures: Tensor, ending: str, value_range: Sequence[float] | None = None) -> Tensor:
    """Convert images (…, C, H, W) in [0, 1] to the values (…, H, W, C) of a file with the extension `ending`.

    These are bytes, except for .npy, which stores 32-bit numbers. With `value_range`, they are mapped to that range.
    """
    if ending.lower() != '.npy':
        return to_bytes(pictures)
    low, high = value_range or (0, 1)
    return (pictures * (high - low) + low).movedim(-3, -1).contiguous()


def as_rgb(images: Tensor) -> Tensor:
    """Return images (…, C, H, W) as (…, 3, H, W) for display: grey is repeated, and only three channels are kept."""
    channels = images.shape[-3]
    return images[..., :3, :, :] if channels >= 3 else images[..., :1, :, :].expand(*images.shape[:-3], 3, -1, -1)


def can_hold(ending: str, channels: int) -> bool:
    """Return whether files with the extension `ending`, such as .png, can store images with this many channels."""
    ending = ending.lower()
    return channels in PICTURES or ending in ('.npy', '.tif', '.tiff') or (channels in (2, 4) and ending == '.png')


def holding(ending: str, channels: int) -> str:
    """The ending where its files can hold so many channels, else .npy."""
    return ending if can_hold(ending, channels) else '.npy'


def to_host(tensor: Tensor) -> tuple[Tensor, Callable[[], None]]:
    """Copy a tensor to the CPU asynchronously. Returns the copy, and a function that waits until it is complete."""
    if tensor.device.type != 'cuda':
        return tensor.cpu(), lambda: None
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(tensor.device))
    return host, copied.synchronize


JPEG = {'quality': 95, 'subsampling': 0}
# Pillow's options for formats whose default quality is visibly lossy. Other formats, such as PNG, are lossless.
BEST_QUALITY = {**dict.fromkeys(('.jpg', '.jpeg', '.jfif', '.jpe', '.mpo'), JPEG),
                '.avif': {'quality': 90, 'subsampling': '4:4:4'}, '.webp': {'lossless': True},
                '.jp2': {'irreversible': False}}


def to_images(images: Tensor) -> list[Image.Image]:
    """Convert images (N, C, H, W) in [-1, 1] to RGB images of Pillow, as `as_rgb` shows them."""
    return [Image.fromarray(pixels) for pixels in to_bytes(as_rgb(to_picture(images))).cpu().numpy()]


def write_picture(picture: Tensor | Image.Image, path: Path) -> None:
    """Write pixels (H, W, C) returned by `to_pixels`, or an image of Pillow, to a file in the format of its extension.
    With other than 1 or 3 channels, .png stores the last one as transparency, and .tif stores each one as a page.
    """
    ending, others = path.suffix.lower(), {}
    if isinstance(picture, Tensor):
        array = picture.cpu().numpy()
        channels = array.shape[2]
        if ending == '.npy':
            with open(path, 'wb') as file:
                np.save(file, array)
            return
        if channels in PICTURES or ending == '.png':
            picture = Image.fromarray(array[:, :, 0] if channels == 1 else array)
        else:
            picture, *pages = [Image.fromarray(np.ascontiguousarray(array[:, :, i])) for i in range(channels)]
            others = {'save_all': True, 'append_images': pages}
    picture.save(path, **BEST_QUALITY.get(ending, {}), **others)


def write_output(picture: Tensor | Image.Image, path: Path, ready: Callable[[], None] = lambda: None) -> None:
    """Like `write_picture`, for pixels that are complete when `ready` returns.

    Raises:
        BadInput: the file cannot be written, for example because the disk is full.
    """
    ready()
    try:
        write_picture(picture, path)
    except OSError as error:
        raise BadInput(f'{path}: cannot be written ({error.strerror or error})') from None
