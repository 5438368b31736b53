"""Rewrite a checkpoint so that encoded styles have mean 0 and covariance I, as sampled styles have.

    python scripts/match_styles.py --config configs/NAME.yaml --checkpoint outputs/NAME/checkpoints/gen_00100000.pt \\
        --output models/NAME.pt

In MUNIT the encoded styles s' of a domain's images should be distributed as the prior N(0, I) (paper, section 3.2).
After short training on few images they are not: some directions of the style code are hardly used, and styles sampled
there correspond to no image. A style code is the output of a linear layer, the last one of the style encoder, and the
input of another, the first one of the MLP. With the mean m and the covariance C of the styles of a domain's training
images, this script changes the two layers to

    encoder: s' -> T (s' - m),  T = C^(-1/2)        MLP: the inverse before its first layer

Reconstructions and translations in the style of an image do not change, and styles sampled from N(0, I) have the same
mean and covariance as encoded styles. This is not part of the original. It is applied to trained models.
"""
import argparse
from pathlib import Path

import _root  # noqa: F401
import torch
from torch import Tensor

from core.checkpoint_kinds import unwrap_any
from core.checkpoints import load_file, put_file
from core.errors import BadInput, shown
from core.files import given_files, make_folder, refuse_overwriting
from data import find_images
from engine.cli import Parser, run_command
from engine.translator import open_translator
from extras.styles.style_space import encode_all

ENCODER, MLP = 'enc_style.model', 'mlp.model.0.fc'   # the keys of the two layers contain these
LEAST_VARIANCE = 1e-4   # directions with less variance are considered unused and are not changed


def parse_arguments(argv: list[str] | None = None):
    parser = Parser('Rewrite a checkpoint so that encoded styles have mean 0 and covariance I, as sampled styles have.',
                    config_required=False)
    parser.add_argument('--checkpoint', required=True, help='gen_XXXXXXXX.pt or ema_XXXXXXXX.pt')
    parser.add_argument('--output', required=True, help='the checkpoint to write, in the same format')
    parser.add_argument('--data_root', help='folder of the training images (default: that of the config)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    opts = parse_arguments(argv)
    if opts.trainer != 'MUNIT':
        raise BadInput(f'--trainer {opts.trainer}: has no style encoder with a prior; use MUNIT')
    refuse_overwriting([Path(opts.output)], given_files(opts), '--output')
    content, _ = unwrap_any(load_file(opts.checkpoint, '--checkpoint'))
    for a2b in (1, 0):
        domain, codes = styles_of_images(opts, a2b)
        content[domain] = matched(content[domain], *moments(codes))
        print(f'{domain}: matched to the styles of {len(codes)} training images, whose numbers had deviations from '
              f'{codes.std(0).min():.2f} to {codes.std(0).max():.2f}')
    make_folder(Path(opts.output).parent, '--output')
    put_file(content, Path(opts.output), '--output')
    print(f'wrote {opts.output}')


def styles_of_images(opts: argparse.Namespace, a2b: int) -> tuple[str, Tensor]:
    """Return the target domain of a direction, and the styles (N, style_dim) of its training images.

    Raises:
        BadInput: there are too few images to estimate the covariance.
    """
    opts.a2b = a2b
    translator = open_translator(opts)
    config = {**translator.config, **({'data_root': opts.data_root} if opts.data_root else {})}
    paths = find_images(config, 'train', translator.target)
    _, codes = encode_all(translator, paths)
    if len(codes) < 2 * codes.shape[1]:
        raise BadInput(f'--data_root {shown(config.get("data_root", ""))}: {len(codes)} images of domain '
                       f'{translator.target.upper()}; at least {2 * codes.shape[1]} are needed, twice the style_dim')
    return translator.target, codes.double()


def moments(codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean m (n,) of styles (N, n), and the roots C^(-1/2) and C^(1/2) (n, n) of their covariance."""
    variances, directions = torch.linalg.eigh(torch.cov(codes.T))
    deviations = variances.clamp(min=LEAST_VARIANCE).sqrt()
    return codes.mean(0), (directions / deviations) @ directions.T, (directions * deviations) @ directions.T


def matched(generator: dict[str, Tensor], mean: Tensor, inverse_root: Tensor, root: Tensor) -> dict[str, Tensor]:
    """Return the state_dict of a generator whose encoded styles have mean 0 and covariance I."""
    last = max((key for key in generator if key.startswith(ENCODER) and key.endswith('.weight')),
               key=lambda key: int(key.removeprefix(f'{ENCODER}.').split('.')[0])).removesuffix('.weight')
    weight, bias = generator[f'{last}.weight'].double(), generator[f'{last}.bias'].double()
    first, offset = generator[f'{MLP}.weight'].double(), generator[f'{MLP}.bias'].double()
    changed = {f'{last}.weight': (inverse_root @ weight.flatten(1)).view_as(weight),
               f'{last}.bias': inverse_root @ (bias - mean),
               f'{MLP}.weight': first @ root, f'{MLP}.bias': offset + first @ mean}
    return {key: changed.get(key, value).to(value.dtype) for key, value in generator.items()}


if __name__ == '__main__':
    run_command(main)
