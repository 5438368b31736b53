"""From tensors to pictures and files."""
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

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


def to_images(images: Tensor, normalize: bool = False) -> list[Image.Image]:
    """Images (N, 1 or 3, H, W) in [-1, 1] -> images of Pillow, grey or RGB. Args as for `to_picture`."""
    return [_image_of(pixels) for pixels in to_bytes(to_picture(images, normalize)).cpu()]


def _image_of(pixels: Tensor) -> Image.Image:
    return Image.fromarray(pixels.cpu().numpy()[:, :, 0 if pixels.shape[2] == 1 else slice(None)])


def write_picture(picture: Tensor | Image.Image, path: Path) -> None:
    """Write bytes (H, W, 1 or 3) or an image of Pillow as a picture; the ending of the name says the format."""
    picture = _image_of(picture) if isinstance(picture, Tensor) else picture
    picture.save(path, **BEST_QUALITY.get(path.suffix.lower(), {}))


def write_output(picture: Tensor | Image.Image, path: Path, ready: Callable[[], None] = lambda: None) -> None:
    """As `write_picture`, once `ready` has returned: bytes may be there only then.

    Raises:
        BadInput: it cannot be written, for the disk is full or the like.
    """
    ready()
    try:
        write_picture(picture, path)
    except OSError as error:
        raise BadInput(f'{path}: cannot be written ({error.strerror or error})') from None
