"""From tensors to pictures and files."""
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.band_images import PICTURES
from core.errors import BadInput


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


def to_pixels(pictures: Tensor, ending: str, value_range: Sequence[float] | None = None) -> Tensor:
    """What a file of this ending holds of pictures (…, C, H, W) in [0, 1]: bytes (…, H, W, C); for .npy 32-bit numbers,
    from the lowest to the highest of `value_range` where it is given.
    """
    if ending.lower() != '.npy':
        return to_bytes(pictures)
    low, high = value_range or (0, 1)
    return (pictures * (high - low) + low).movedim(-3, -1).contiguous()


def as_rgb(images: Tensor) -> Tensor:
    """What is shown of images (…, C, H, W): grey as colours, and the first three of more channels; (…, 3, H, W)."""
    channels = images.shape[-3]
    return images[..., :3, :, :] if channels >= 3 else images[..., :1, :, :].expand(*images.shape[:-3], 3, -1, -1)


def can_hold(ending: str, channels: int) -> bool:
    """Whether files of this ending, such as .png, can hold images of so many channels."""
    ending = ending.lower()
    return channels in PICTURES or ending in ('.npy', '.tif', '.tiff') or (channels in (2, 4) and ending == '.png')


def to_host(tensor: Tensor) -> tuple[Tensor, Callable[[], None]]:
    """The tensor on the CPU, and what waits until it is there: a CUDA device copies it while it goes on computing."""
    if tensor.device.type != 'cuda':
        return tensor.cpu(), lambda: None
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(tensor.device))
    return host, copied.synchronize


JPEG = {'quality': 95, 'subsampling': 0}
# Options of Pillow for formats that lose by default more than an eye would miss. Others, such as PNG, lose nothing.
BEST_QUALITY = {**dict.fromkeys(('.jpg', '.jpeg', '.jfif', '.jpe', '.mpo'), JPEG),
                '.avif': {'quality': 90, 'subsampling': '4:4:4'}, '.webp': {'lossless': True},
                '.jp2': {'irreversible': False}}


def to_images(images: Tensor) -> list[Image.Image]:
    """Images (N, C, H, W) in [-1, 1] -> RGB images of Pillow, as `as_rgb` shows them."""
    return [Image.fromarray(pixels) for pixels in to_bytes(as_rgb(to_picture(images))).cpu().numpy()]


def write_picture(picture: Tensor | Image.Image, path: Path) -> None:
    """Write what `to_pixels` makes of a picture (H, W, C), or an image of Pillow; the ending of the name says the format.
    Of other than 1 and 3 channels, .png holds the last as transparency, and .tif each as a page.
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
    """As `write_picture`, once `ready` has returned: pixels may be there only then.

    Raises:
        BadInput: it cannot be written, for the disk is full or the like.
    """
    ready()
    try:
        write_picture(picture, path)
    except OSError as error:
        raise BadInput(f'{path}: cannot be written ({error.strerror or error})') from None
