"""Export one direction of a model as ONNX or torch.export files, compared with PyTorch; or convert to safetensors.

    python scripts/export_onnx.py --config configs/edges2shoes_folder.yaml --checkpoint gen_01000000.pt --a2b 1 \\
        --output_folder outputs/onnx
    python scripts/export_onnx.py … --format pt2            # torch.export: a2b.pt2, style_b.pt2
    python scripts/export_onnx.py … --format safetensors    # gen_01000000.safetensors, the whole checkpoint
    python scripts/export_onnx.py --checkpoint gen_01000000.safetensors --format pt --output_folder outputs/back

    a2b.onnx        image (N, C, H, W) and style (N, style_dim) -> output (N, C', H, W); H and W are multiples of
                    2^n_downsample, N is arbitrary. UNIT: image only.
    style_b.onnx    image (N, C', H, W), each side at least 16 -> style (N, style_dim). Not for UNIT.

Images are in [-1, 1]. The metadata of a file contain this range, the factor of which sides must be multiples, and the
length of the shorter side in training. Operations that ONNX does not support are replaced by equivalent ones. `pip
install -r requirements/export.txt` installs the requirements; scripts/use_onnx.py uses the files without PyTorch. Files
of torch.export have the same inputs and outputs: `torch.export.load(FILE).module()`.

A .safetensors file contains the unchanged weights of the checkpoint and the config keys of its networks, so that
commands do not require --config. `--format pt` converts it back. Both also accept a dis_*.pt.
"""
import copy
import json
import os
import types
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import _root  # noqa: F401
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from core import safetensors_file
from core.checkpoints import load_any, put_file, read_networks
from core.device import choose_device, reason_of
from core.errors import BadInput, RunEnded, shown
from core.files import atomic_write, given_files, make_folder, refuse_overwriting
from data import new_size_of
from engine.cli import DirectionParser, run_command
from engine.config import config_for, network_config
from engine.methods import translator_class
from engine.translator import Translator, open_translator, without_weights
from networks import (
    MLP,
    STYLE_HALVINGS,
    AdaptiveInstanceNorm2d,
    Conv2dBlock,
    InstanceNorm2d,
    LayerNorm,
    ToImageConv2dBlock,
    UpsampleConv2dBlock,
)

NEEDED = ('onnx', 'onnxruntime', 'onnxscript')
TOLERANCE = 1e-4
LARGEST_FILE = 2 ** 31 - 2 ** 22   # a protobuf is limited to 2 GiB, part of which is not weights


class Part(NamedTuple):
    """What becomes a file."""
    name: str
    network: nn.Module                   # in plain operations
    reference: Callable[..., Tensor]     # the same in PyTorch's quick ways
    output: str                          # the name of what comes out
    channels: int                        # of the image that goes in
    multiple: int                        # that its sides are of
    smallest: int                        # side
    shorter_side: int                    # that images were resized to in training
    style_length: int = 0                # of the style code beside the image; 0: there is none


def parse_arguments(argv: list[str] | None = None):
    parser = DirectionParser('Write a model in another format: one direction, checked against PyTorch, or the '
                             'weights.')
    parser.add_argument('--format', default='onnx', choices=('onnx', 'pt2', 'safetensors', 'pt'),
                        help='pt2: torch.export; safetensors, pt: the whole checkpoint')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    opts = parse_arguments(argv)
    choose_device(opts.device)   # only checks the name; the export runs on the CPU
    if opts.format in ('safetensors', 'pt'):
        print(f'wrote {convert(opts)}')
        return
    lacking = [name for name in NEEDED if opts.format == 'onnx' and not find_spec(name)]
    if lacking:
        raise BadInput(f'export_onnx.py: {", ".join(lacking)} missing; pip install -r requirements/export.txt')
    if opts.trainer not in ('MUNIT', 'UNIT'):
        raise BadInput(f'--trainer {opts.trainer}: cannot be exported; use MUNIT or UNIT')
    translator = open_translator(opts, torch.device('cpu'))
    config = translator.config
    parts = parts_of(translator)
    size = sum(weight.nbytes for part in parts for weight in part.network.parameters())
    if opts.format == 'onnx' and size > LARGEST_FILE:
        raise BadInput('export_onnx.py: these networks exceed 2 GiB, the limit of an ONNX file; lower gen.dim and '
                       'train again')
    folder = make_folder(opts.output_folder, '--output_folder')
    for part in parts:
        trained = config['crop_image_height'], config['crop_image_width']
        for line in export(part, folder, trained, FORMATS[opts.format]):
            print(line, flush=True)


def convert(opts) -> Path:
    """Convert a checkpoint with all its networks to safetensors or to a PyTorch file. Returns the path.

    Raises:
        BadInput: the config or checkpoint cannot be used, or the file cannot be written.
    """
    config = config_for(opts.config, opts.checkpoint, opts.trainer)
    content, kind = load_any(opts.checkpoint, '--checkpoint')
    if kind.startswith('a generator of'):
        with without_weights():
            networks = translator_class(opts.trainer).networks(config, opts.trainer)
        read_networks(opts.checkpoint, networks, '--checkpoint')   # checks it against the config
    path = make_folder(opts.output_folder, '--output_folder') / f'{Path(opts.checkpoint).stem}.{opts.format}'
    refuse_overwriting([path], given_files(opts), '--output_folder')
    if opts.format == 'pt':
        put_file(content, path, '--output_folder')
    else:
        with atomic_write(path) as beside:
            safetensors_file.write(content, beside, opts.trainer, network_config(config))
    return path


def parts_of(translator: Translator) -> list[Part]:
    """Return the parts of a direction to export, on the CPU."""
    source, target = translator.source, translator.target
    guided = translator.trainer == 'MUNIT'

    def reference(image: Tensor, style: Tensor | None = None) -> Tensor:
        return translator.translate_batch(image, None if style is None else style[:, None, :, None, None])[:, 0]

    parts = [Part(f'{source}2{target}', plain(Translation(translator)), reference, 'output',
                  translator.config[f'input_dim_{source}'], translator.multiple, translator.smallest,
                  new_size_of(translator.config, source), translator.style_length if guided else 0)]
    if guided:
        encoder = StyleCode(translator.target_gen.enc_style)
        parts.append(Part(f'style_{target}', plain(encoder), encoder, 'style',
                          translator.config[f'input_dim_{target}'], 1, 2 ** STYLE_HALVINGS,
                          new_size_of(translator.config, target)))
    return parts


class Translation(nn.Module):
    """One direction as a module: encoder, decoder and MLP of a translator."""

    def __init__(self, translator: Translator):
        super().__init__()
        gen = translator.source_gen
        self.encoder = gen.enc_content if translator.trainer == 'MUNIT' else gen.enc
        self.target_gen = translator.target_gen
        self.eval()

    def forward(self, image: Tensor, style: Tensor | None = None) -> Tensor:
        """Translate images (N, C, H, W) with styles (N, style_dim), or None for UNIT, to (N, C', H, W)."""
        content = self.encoder(image)
        return self.target_gen.decode(content) if style is None else self.target_gen.decode(content, style)


class StyleCode(nn.Module):
    """A style encoder that returns flattened codes."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Encode images (N, C, H, W) to style codes (N, style_dim)."""
        return self.encoder(image).flatten(1)


# ---------------------------------------------------------------------------------------------------------------------
# Plain operations
# ---------------------------------------------------------------------------------------------------------------------

def plain(network: nn.Module) -> nn.Module:
    """Return a copy for inference that computes the same values with operations of ONNX, for any size and batch."""
    network = copy.deepcopy(network)
    for module in network.modules():
        for name, child in module.named_children():
            if parametrize.is_parametrized(child):
                setattr(module, name, _bare_convolution(child))
        for kind, forward in PLAIN.items():
            if isinstance(module, kind):
                module.forward = types.MethodType(forward, module)
    return network.requires_grad_(False)


def _bare_convolution(conv: nn.Conv2d) -> nn.Conv2d:
    """Return a convolution with the weights after spectral normalisation, which are constant in eval mode.

    PyTorch's function for removing a parametrisation changes the class, which copies of a module share.
    """
    bare = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride)
    bare.load_state_dict({'weight': conv.weight, 'bias': conv.bias})
    return bare


def _mean(x: Tensor, *axes: int) -> Tensor:
    # Axis by axis: onnxruntime sums sequentially, which loses precision over millions of numbers.
    for axis in axes:
        x = x.mean(axis, keepdim=True)
    return x


def _instance_norm(self: nn.Module, x: Tensor, adain: Tensor | None = None) -> Tensor:
    centred = x - _mean(x, 3, 2)
    x = centred / (_mean(centred.square(), 3, 2) + self.eps).sqrt()
    return x if adain is None else x * adain[:, 1, :, None, None] + adain[:, 0, :, None, None]


def _layer_norm(self: LayerNorm, x: Tensor) -> Tensor:
    count = x.shape[1] * x.shape[2] * x.shape[3]
    centred = x - _mean(x, 3, 2, 1)
    std = (_mean(centred.square(), 3, 2, 1) * (count / (count - 1))).sqrt()
    return centred / (std + self.eps) * self.gamma[:, None, None] + self.beta[:, None, None]


def _upsample(self: UpsampleConv2dBlock, x: Tensor, adain: Tensor | None = None) -> Tensor:
    return Conv2dBlock.forward(self, F.interpolate(x, scale_factor=2, mode='nearest'))


PLAIN = {InstanceNorm2d: _instance_norm, AdaptiveInstanceNorm2d: _instance_norm, LayerNorm: _layer_norm,
         UpsampleConv2dBlock: _upsample, ToImageConv2dBlock: Conv2dBlock.forward,
         MLP: lambda self, style: self.model(style)}


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------

class Format(NamedTuple):
    """A file format to which a part can be exported."""
    ending: str
    write: Callable[[Part, Path], None]
    run: Callable[[Part, Path, dict[str, Tensor]], Tensor]   # computes the output of a file


def export(part: Part, folder: Path, trained: tuple[int, int], form: Format) -> Iterator[str]:
    """Export a part, and compare the file with PyTorch at several sizes and batches before it gets its name.

    Args:
        trained: height and width of the images in training, for one of the checks.

    Yields:
        Messages about the differences found and the file written.

    Raises:
        RunEnded: the installed versions cannot export it, or the values differ. In both cases no file is written.
        BadInput: the file cannot be written, for example because the disk is full.
    """
    path = folder / f'{part.name}.{form.ending}'
    beside = path.with_name(f'{path.stem}.part.{form.ending}')
    try:
        form.write(part, beside)
        for shape in check_shapes(part, trained):
            error = largest_difference(part, beside, shape, form)
            size = f'{shape[0]} image{"s" if shape[0] > 1 else ""} of {shape[1]}×{shape[2]}'
            if not error <= TOLERANCE:
                raise RunEnded(1, f'{path}: not written; at {size} it differs from PyTorch by {error:.2g}, more than '
                                  f'{TOLERANCE:g}')
            yield f'{path.name}: {size}: differs from PyTorch by {error:.2g} at most'
        os.replace(beside, path)
    except OSError as error:
        raise BadInput(f'{path}: cannot be written ({error.strerror or error})') from None
    finally:
        beside.unlink(missing_ok=True)
    yield f'wrote {path}, {path.stat().st_size / 1e6:.3g} MB'


def example_of(part: Part) -> tuple[dict[str, Tensor], dict[str, dict]]:
    """Return example inputs for the export, and their dynamic dimensions: the batch and the sides of images."""
    def side(name: str) -> 'torch.export.Dim':
        dim = torch.export.Dim(name, min=part.smallest // part.multiple)
        return part.multiple * dim if part.multiple > 1 else dim

    # Batch and sides must differ from 1 and from each other, as the exporter may treat equal sizes as always equal.
    inputs = {'image': torch.zeros(2, part.channels, 2 * part.smallest, 3 * part.smallest)}
    batch = torch.export.Dim('batch')
    dims = {'image': {0: batch, 2: side('height'), 3: side('width')}}
    if part.style_length:
        inputs['style'], dims['style'] = torch.zeros(2, part.style_length), {0: batch}
    return inputs, dims


def about(part: Part) -> dict[str, str]:
    """Return the metadata of a file."""
    return {'image_range': '-1 to 1', 'sides_multiple_of': str(part.multiple), 'shorter_side': str(part.shorter_side)}


def write_onnx(part: Part, path: Path) -> None:
    """Write the file of a part. See `export` for the errors."""
    inputs, dims = example_of(part)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')   # caused by the exporter itself
            program = torch.onnx.export(part.network, (), kwargs=inputs, dynamo=True, dynamic_shapes=dims,
                                        input_names=list(inputs), output_names=[part.output], external_data=False,
                                        verbose=False)
    except Exception as error:   # four libraries with different error classes are involved
        raise RunEnded(1, f'{part.name}.onnx: not written; torch {torch.__version__} and the installed onnx and '
                          f'onnxscript cannot export it ({shown(reason_of(error), 200)})') from error
    program.model.metadata_props.update(about(part))
    program.save(str(path))


def run_onnx(part: Part, path: Path, inputs: dict[str, Tensor]) -> Tensor:
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    found, = session.run([part.output], {name: value.numpy() for name, value in inputs.items()})
    return torch.from_numpy(found)


def write_pt2(part: Part, path: Path) -> None:
    """Write the file of a part. See `export` for the errors."""
    inputs, dims = example_of(part)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            program = torch.export.export(part.network, (), kwargs=inputs, dynamic_shapes=dims,
                                          prefer_deferred_runtime_asserts_over_guards=True)
    except Exception as error:
        raise RunEnded(1, f'{part.name}.pt2: not written; torch {torch.__version__} cannot export it '
                          f'({shown(reason_of(error), 200)})') from error
    # The program asserts that no layer is one pixel wide, which is true only for the sizes of the export.
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten._assert_scalar.default:
            program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    torch.export.save(program, str(path), extra_files={'munit.json': json.dumps(about(part))})


def run_pt2(part: Part, path: Path, inputs: dict[str, Tensor]) -> Tensor:
    with torch.inference_mode():
        return torch.export.load(str(path)).module()(**inputs)


FORMATS = {'onnx': Format('onnx', write_onnx, run_onnx), 'pt2': Format('pt2', write_pt2, run_pt2)}


def check_shapes(part: Part, trained: tuple[int, int]) -> list[tuple[int, int, int]]:
    """Return batch, height and width of the inputs to check, which all differ from those of the export."""
    small, step = part.smallest, part.multiple
    return [(1, max(small, trained[0]), max(small, trained[1])), (3, 2 * small + step, 4 * small + 3 * step),
            (1, 5 * small, 2 * small), (2, small, small)]


def largest_difference(part: Part, path: Path, shape: tuple[int, int, int], form: Format) -> float:
    """Return the largest difference between the outputs of the file and of PyTorch for noise; NaN if either has NaN."""
    generator = torch.Generator().manual_seed(0)
    n, height, width = shape
    inputs = {'image': torch.rand(n, part.channels, height, width, generator=generator) * 2 - 1}
    if part.style_length:
        inputs['style'] = torch.randn(n, part.style_length, generator=generator)
    found = form.run(part, path, inputs)
    with torch.inference_mode():
        return float((found - part.reference(**inputs)).abs().max())


if __name__ == '__main__':
    run_command(main)
