"""Translate a picture with what export.py wrote: numpy and onnxruntime compute, Pillow reads and writes.

    python scripts/use_onnx.py outputs/onnx/a2b.onnx inputs/edges2shoes_edge.jpg shoe.png
    python scripts/use_onnx.py outputs/onnx/a2b.onnx inputs/edges2shoes_edge.jpg shoe.png --style_code 1,0,0,0,0,0,0,0
    python scripts/use_onnx.py outputs/onnx/a2b.onnx inputs/edges2shoes_edge.jpg shoe.png \\
        --style outputs/onnx/style_b.onnx inputs/edges2shoes_shoe.jpg
"""
import argparse

import numpy as np
import onnxruntime
from PIL import Image


def run(model: str, pixels: np.ndarray, *code: np.ndarray) -> np.ndarray:
    """What a file of export.py makes of pixels (H, W, 3), 0 to 255, and of a style code (1, n), if it takes one."""
    session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])
    image, *rest = session.get_inputs()
    step = int(session.get_modelmeta().custom_metadata_map['sides_multiple_of'])
    pixels = pixels[:len(pixels) // step * step, :pixels.shape[1] // step * step] / 127.5 - 1
    if image.shape[1] == 1:   # a grey domain
        pixels = pixels @ np.array([[0.299], [0.587], [0.114]])
    fed = {image.name: pixels.transpose(2, 0, 1)[None].astype(np.float32)}
    fed |= {entry.name: value.astype(np.float32) for entry, value in zip(rest, code, strict=False)}
    return session.run(None, fed)[0]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description='Translate a picture with ONNX files.')
    parser.add_argument('model', help='an a2b.onnx')
    parser.add_argument('input', help='the picture')
    parser.add_argument('output', help='where its translation goes')
    parser.add_argument('--style_code', default='', help='the numbers of a style; otherwise one is drawn')
    parser.add_argument('--style', nargs=2, metavar=('STYLE_B.onnx', 'PICTURE'), help='take the style of a picture')
    opts = parser.parse_args(argv)
    if opts.style:
        code = run(opts.style[0], np.array(Image.open(opts.style[1]).convert('RGB')))
    elif opts.style_code:
        code = np.array([opts.style_code.split(',')], dtype=np.float32)
    else:
        style = [entry for entry in onnxruntime.InferenceSession(opts.model).get_inputs() if entry.name == 'style']
        code = np.random.default_rng().standard_normal((1, style[0].shape[1] if style else 1))
    output = run(opts.model, np.array(Image.open(opts.input).convert('RGB')), code)[0].transpose(1, 2, 0)
    bytes_ = ((output + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    Image.fromarray(bytes_[:, :, 0] if bytes_.shape[2] == 1 else bytes_).save(opts.output)


if __name__ == '__main__':
    main()
