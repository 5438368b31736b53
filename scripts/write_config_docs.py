"""Write the key tables of docs/configuration.md from the schemas, so that page and program cannot disagree.

    python scripts/write_config_docs.py            # writes the page
    python scripts/write_config_docs.py --check    # exit status 1 where the page differs
"""
import re
import sys

from _root import ROOT

from core.errors import OneLineParser
from engine.cli import run_command
from engine.config_keys import LIST_KEYS, NO_DEFAULT, REQUIRED, Key, Schema
from engine.methods import METHODS, schema_of

PAGE = ROOT / 'docs' / 'configuration.md'
DESCRIPTIONS = {
    'image_save_iter': 'numbered sample images every so many iterations',
    'image_display_iter': 'the current sample images (`…_train_current.jpg`) every so many iterations',
    'display_size': 'images in a sample grid',
    'snapshot_save_iter': 'a snapshot every so many iterations',
    'log_iter': 'losses for TensorBoard and the page every so many iterations',
    'max_iter': 'the last iteration',
    'batch_size': 'images of each domain in an iteration',
    'weight_decay': 'L2 penalty inside Adam',
    'beta1': 'Adam: decay of the mean of the gradient',
    'beta2': 'Adam: decay of the mean of its square',
    'init': 'initial weights of the generators (baselines: of all networks); the discriminators are gaussian',
    'init_gain': 'standard deviation, or gain, of the initial weights',
    'lr': 'learning rate at the start',
    'lr_policy': '`step`: iteration i, from 0, runs at lr · gamma^⌊(i+1)/step_size⌋; `constant`: at lr; `linear`: at '
                 'lr up to `decay_start`, then linearly to 0 at `decay_end`',
    'step_size': 'iterations between two cuts of the learning rate; required for `lr_policy: step`',
    'gamma': 'factor of a cut; required for `lr_policy: step`',
    'decay_start': 'where `linear` begins to fall; default: half of `max_iter`',
    'decay_end': 'where `linear` reaches 0; default: `max_iter`',
    'gan_w': 'weight of the adversarial terms',
    'gan2_w': 'weight of the adversarial term of random codes',
    'recon_x_w': 'weight of image reconstruction (equation 1; BicycleGAN: L1 to the paired image)',
    'recon_s_w': 'weight of style reconstruction (equation 3)',
    'recon_c_w': 'weight of content reconstruction (equation 2)',
    'recon_x_cyc_w': 'weight of (style-augmented) cycle consistency; about 10 where pixels stay in place, 0 where '
                     'shapes change',
    'recon_kl_w': 'weight of the KL term of encoded images',
    'recon_kl_cyc_w': 'weight of the KL term of translations encoded again',
    'recon_h_w': "appears in UNIT's own files, whose code does not read it either",
    'identity_w': 'weight of the identity term; requires equal channels in A and B',
    'latent_w': 'weight of latent reconstruction',
    'kl_w': "weight of the KL term of the encoder's codes",
    'pool_size': 'earlier translations kept for the discriminators',
    'vgg_w': 'weight of the domain-invariant perceptual loss',
    'vgg_weights': "VGG-16's weights: a file in the original's or torchvision's format, or `torchvision`",
    'dis_lr': 'learning rate of the discriminators; default: `lr`',
    'grad_clip': 'limit of the norm of the gradients, for each optimizer: `none`, a number, or `auto`: '
                 '`grad_clip_factor` times the running median of the last 200 norms',
    'grad_clip_factor': 'see `grad_clip`',
    'on_divergence': 'what a run does when training diverges: say so; go back to the last good snapshot; stop',
    'max_rollbacks': 'rollbacks before a run gives up',
    'ema_decay': "above 0: also average the generators' weights, saved as `ema_%08d.pt` and used for sample images",
    'dirty': 'the encoders see corrupted training images of this domain, and learn to reconstruct the clean ones',
    'display_guided': 'sample grids also have a row with the style of an image',
    'log_styles': 'log the mean and spread of style codes against N(0, 1)',
    'precision': 'of products; in bf16, weights, moments, statistics of norms, the MLP and losses stay in 32 bits',
    'deterministic': 'the same bits in every run',
    'channels_last': 'memory layout of the features',
    'compile': 'compile what an iteration computes with torch.compile',
    'cuda_graphs': 'record an iteration as one CUDA graph and replay it (one process, CUDA); requires `fused: true`',
    'fused': 'Adam in one kernel: the same steps up to rounding',
    'checkpoint_activations': 'recompute activations in the backward pass: a third of the memory, one more forward '
                              'pass',
    'cache': 'keep decoded and resized images in memory, up to half of what is free',
    'tracker': 'log to Weights & Biases or MLflow as well as to TensorBoard (`requirements/track.txt`)',
    'keep_snapshots': 'how many of the newest snapshots stay; 0: all',
    'max_bad_steps': 'consecutive iterations with losses or gradients that are not finite, which end a run',
    'max_bad_images': 'unreadable images that end a run',
    'gen': 'section: the generators', 'dis': 'section: the discriminators',
    'input_dim_a': 'channels of A: 3 (colour), 1 (grey) or another number ([data.md](data.md))',
    'input_dim_b': 'channels of B, likewise',
    'num_workers': 'processes that read images; at most as many as there are cores are used',
    'new_size': 'the shorter side is resized to this; or `new_size_a` and `new_size_b`',
    'new_size_a': 'as `new_size`, for A', 'new_size_b': 'as `new_size`, for B',
    'resize': '`shorter`: the shorter side to `new_size`; `fit`: to the size of the crop, whatever shape an image has; '
              '`none`: as the file is',
    'crop_image_height': 'height of the random crop; a multiple of 2^n_downsample',
    'crop_image_width': 'width of the random crop; a multiple of 2^n_downsample',
    'flip': 'flip half of the training images left and right', 'flip_vertical': 'and half of them top and bottom',
    'value_range_a': 'images of A in files of more than 8 bits: the values of black and white, such as `[0, 4095]`; '
                     'default: 0 and 65535, of float files 0 and 1',
    'value_range_b': 'as `value_range_a`, for B',
    'data_root': 'folder mode: a folder with trainA, trainB, testA and testB',
    'follow_links': 'look into linked folders too, each once',
    'test_share': 'where there are no test images: the share of the training images that is kept out of training and '
                  'shown instead, at least one; 0: test images are required',
    'data_timeout': 'seconds that a run waits for images whose folder or disk has gone away',
    'gen.dim': 'channels after the first layer', 'gen.mlp_dim': 'width of the MLP',
    'gen.style_dim': 'numbers in a style code',
    'gen.activ': 'activation', 'gen.n_downsample': 'halvings of the content encoder (U-Net: levels)',
    'gen.n_res': 'residual blocks in encoder and decoder', 'gen.pad_type': 'padding',
    'gen.spectral_norm': 'spectral norm on all convolutions of the generators',
    'gen.noise_dim': 'numbers in a noise vector or latent code', 'gen.dropout': 'dropout probability',
    'gen.enc_dim': "width of BicycleGAN's encoder", 'gen.enc_res': 'its residual blocks',
    'dis.dim': 'channels after the first layer', 'dis.norm': 'normalization; `sn` is spectral norm',
    'dis.activ': 'activation',
    'dis.n_layer': 'halvings at each scale', 'dis.gan_type': 'least squares, cross-entropy, or hinge loss',
    'dis.num_scales': 'image scales', 'dis.pad_type': 'padding',
    'dis.init': 'first weights of the discriminators',
    'dis.augment': 'random changes of all images that the discriminators see, for small data sets',
    'dis.r1_w': 'weight of the R1 gradient penalty; 0: none',
    'dis.r1_every': 'iterations from one R1 penalty to the next',
}


def allowed(key: Key) -> str:
    """What a key may hold, in words."""
    if key.type is bool:
        return '`true`, `false`'
    if key.choices:
        return ', '.join(f'`{choice}`' for choice in key.choices)
    words = ''.join(f'`{word}`, ' for word in key.words)
    if key.type in (str, dict, list):
        return words + {str: 'text', dict: 'section', list: 'two numbers'}[key.type]
    kind = 'whole number' if key.type is int else 'number'
    bounds = [f'{sign} {bound:g}' for sign, bound in (('≥', key.low), ('≤', key.high)) if bound is not None]
    return words + kind + (f' {", ".join(bounds)}' if bounds else '')


def default(key: Key) -> str:
    """The default of a key, in words."""
    if key.default is REQUIRED:
        return 'required' + (f' for {", ".join(key.trainers)}' if key.trainers else '')
    if key.default is NO_DEFAULT or isinstance(key.default, dict):
        return '–'
    return f'`{str(key.default).lower() if isinstance(key.default, bool) else key.default}`'


def table(schema: Schema) -> list[str]:
    """The rows of a method's keys."""
    lines = ['| key | allowed | default | what it does |', '|---|---|---|---|']
    for section, keys in (('', schema.keys), ('gen.', schema.gen), ('dis.', schema.dis)):
        lines += [f'| `{section}{name}` | {allowed(key)} | {default(key)} | {DESCRIPTIONS[section + name]} |'
                  for name, key in keys.items() if name not in LIST_KEYS]
    return lines


def tables() -> dict[str, list[str]]:
    """The tables by the name that the page's markers have; the first serves MUNIT and UNIT."""
    return {name: table(schema_of(name)) for name in METHODS if name != 'UNIT'}


def filled(page: str) -> str:
    """The page with its tables replaced by fresh ones."""
    for name, lines in tables().items():
        page, count = re.subn(rf'(<!-- keys of {name} -->\n).*?(<!-- end -->)',
                              lambda match, lines=lines: match[1] + '\n'.join(lines) + '\n' + match[2],
                              page, flags=re.S)
        if count != 1:
            raise ValueError(f'{PAGE}: no markers for the keys of {name}')
    return page


def main(argv: list[str] | None = None) -> int:
    parser = OneLineParser(description='Write the key tables of docs/configuration.md from the schemas.')
    parser.add_argument('--check', action='store_true', help='write nothing; exit status 1 where the page differs')
    opts = parser.parse_args(argv)
    before = PAGE.read_text(encoding='utf-8')
    after = filled(before)
    if opts.check:
        if before != after:
            print(f'{PAGE.relative_to(ROOT)} differs from the schemas: python scripts/write_config_docs.py',
                  file=sys.stderr)
        return int(before != after)
    PAGE.write_text(after, encoding='utf-8')
    return 0


if __name__ == '__main__':
    run_command(main)
