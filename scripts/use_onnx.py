"""Translate an image with files from export_onnx.py, using only numpy, Pillow and onnxruntime, without PyTorch.

    python scripts/use_onnx.py outputs/onnx/a2b.onnx inputs/edges2shoes_edge.jpg shoe.png
    python scripts/use_onnx.py outputs/onnx/a2b.onnx inputs/edges2shoes_edge.jpg shoe.png --style_code=1,0,0,0,0,0,0,-1
    python scripts/use_onnx.py outputs/onnx/a2b.onnx inputs/edges2shoes_edge.jpg shoe.png \\
        --style outputs/onnx/style_b.onnx inputs/edges2shoes_shoe.jpg

Images are read by the project's `core/image_reading.py`, which needs no PyTorch either.
"""
import argparse
import sys
from pathlib import Path

import _root  # noqa: F401
import numpy as np
import onnxruntime
from PIL import Image

from core.files import refuse_overwriting
from core.image_reading import read_image


def run(model: onnxruntime.InferenceSession, pixels: np.ndarray, code: np.ndarray | None = None) -> np.ndarray:
    """Run an exported network on pixels (H, W, C) from 0 to 255, and a style code (1, n) if the network takes one."""
    step = int(model.get_modelmeta().custom_metadata_map['sides_multiple_of'])
    height, width, _ = pixels.shape
    pixels = np.pad(pixels, ((0, -height % step), (0, -width % step), (0, 0)), 'reflect') / 127.5 - 1
    _, *style = model.get_inputs()
    fed = {'image': pixels.transpose(2, 0, 1)[None].astype(np.float32)}
    if style:
        fed['style'] = np.random.standard_normal((1, style[0].shape[1])) if code is None else code
        fed['style'] = fed['style'].astype(np.float32)
    output = model.run(None, fed)[0]
    return output[..., :height, :width] if output.ndim == 4 else output


def load(path: str) -> onnxruntime.InferenceSession:
    """Load a file written by export_onnx.py."""
    return onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])


def read(path: str, model: onnxruntime.InferenceSession) -> np.ndarray:
    """Read an image as pixels (H, W, C) from 0 to 255, with the channels and size that the model was trained with."""
    shorter = int(model.get_modelmeta().custom_metadata_map['shorter_side'])   # 0: keep the size
    image = read_image(path, model.get_inputs()[0].shape[1], new_size=shorter)
    if shorter:
        image = image.resize([shorter * side // min(image.size) for side in image.size], Image.Resampling.BILINEAR)
    pixels = np.array(image, dtype=np.float32) * (255 if image.mode == 'F' else 1)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description='Translate an image with ONNX files.')
    parser.add_argument('model', help='an a2b.onnx')
    parser.add_argument('input', help='the picture')
    parser.add_argument('output', help='path of the translation')
    parser.add_argument('--style_code', default='', help='style code as numbers; sampled if not given')
    parser.add_argument('--style', nargs=2, metavar=('STYLE_B.onnx', 'PICTURE'), help='use the style of an image')
    opts = parser.parse_args(argv)
    refuse_overwriting([Path(opts.output)], [opts.model, opts.input, *(opts.style or ())], 'output')
    model, code = load(opts.model), None
    if opts.style:
        encoder = load(opts.style[0])
        code = run(encoder, read(opts.style[1], encoder))
    elif opts.style_code:
        code = np.array([opts.style_code.split(',')], dtype=np.float32)
    output = run(model, read(opts.input, model), code)[0].transpose(1, 2, 0)
    pixels = ((output + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(opts.output)


if __name__ == '__main__':
    try:
        main()
    except Exception as error:   # errors of onnxruntime and Pillow have no common base class
        sys.exit(f'use_onnx.py: {" ".join(str(error).split())}')
