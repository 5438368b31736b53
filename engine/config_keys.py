"""The keys of a config for MUNIT or UNIT, with their types, choices or bounds, and defaults."""
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from core import augmentation
from core.band_images import PICTURES
from core.precision import PRECISIONS
from networks import ACTIVATIONS, INITS, PADDINGS, STYLE_HALVINGS

REQUIRED = object()
NO_DEFAULT = None   # for keys that are optional, or required only with some other key, which is checked separately
WIDEST = 2 ** 16   # larger networks fail while being built, with messages that do not name the key
MAX_CHANNELS = 1024   # of an image
SIZE_KEYS = ('crop_image_', 'new_size', 'gen:', 'gen.', 'dis:', 'dis.', 'batch_size:', 'vgg_w:')


class Key(NamedTuple):
    """The allowed values of a key: its type (`list` means two numbers, the lower one first), and its choices or bounds.

    `default` is `REQUIRED` for a key that the trainers in `trainers` require. If `trainers` is empty, all trainers
    require it. A method added by the user has the same required keys as the trainer whose schema it uses.
    """
    type: type
    default: Any = REQUIRED
    choices: tuple = ()
    low: float | None = None
    high: float | None = None
    words: tuple = ()      # strings that are allowed in addition to numbers
    trainers: tuple = ()


def count(**options) -> Key:
    return Key(int, low=1, **options)


def weight(**options) -> Key:
    return Key(float, low=0, **options)


def choice(*choices, **options) -> Key:
    return Key(type(choices[0]), choices=choices, **options)


LIST_KEYS = tuple(f'data_{kind}_{split}_{domain}'
                  for split in ('train', 'test') for domain in 'ab' for kind in ('folder', 'list'))
GEN_KEYS = {
    'dim': count(high=WIDEST),
    'mlp_dim': count(high=WIDEST, trainers=('MUNIT',)),
    'style_dim': count(high=WIDEST, trainers=('MUNIT',)),
    'activ': choice(*ACTIVATIONS),
    'n_downsample': Key(int, low=0, high=16),
    'n_res': count(high=1000),
    'pad_type': choice(*PADDINGS),
    'spectral_norm': Key(bool, default=False),
}
DIS_KEYS = {
    'dim': count(high=WIDEST),
    'norm': choice('none', 'bn', 'in', 'ln', 'sn'),
    'activ': choice(*ACTIVATIONS),
    'n_layer': count(high=16),
    'gan_type': choice('lsgan', 'nsgan', 'hinge'),
    'num_scales': count(high=16),
    'pad_type': choice(*PADDINGS),
    'init': choice(*INITS, default='gaussian'),
    'augment': choice(*augmentation.CHOICES, default='none'),
    'r1_w': weight(default=0.0),
    'r1_every': count(default=16),
}
KEYS = {
    'image_save_iter': count(),
    'image_display_iter': count(),
    'display_size': count(),
    'snapshot_save_iter': count(),
    'log_iter': count(),
    'max_iter': count(),
    'batch_size': count(),
    'weight_decay': weight(),
    'beta1': Key(float, low=0, high=0.999999),
    'beta2': Key(float, low=0, high=0.999999),
    'init': choice(*INITS),
    'lr': Key(float, low=1e-12),
    'lr_policy': choice('step', 'constant', default='constant'),
    'step_size': count(default=NO_DEFAULT),
    'gamma': Key(float, low=0, default=NO_DEFAULT),
    'gan_w': weight(),
    'recon_x_w': weight(),
    'recon_s_w': weight(trainers=('MUNIT',)),
    'recon_c_w': weight(trainers=('MUNIT',)),
    'recon_x_cyc_w': weight(),
    'recon_kl_w': weight(trainers=('UNIT',)),
    'recon_kl_cyc_w': weight(trainers=('UNIT',)),
    'recon_h_w': weight(default=NO_DEFAULT),   # is in the original's UNIT configs, but its code does not use it either
    'vgg_w': weight(),
    'dis_lr': Key(float, low=1e-12, default=NO_DEFAULT),
    'grad_clip': Key(float, low=1e-12, default='none', words=('none', 'auto')),
    'grad_clip_factor': Key(float, low=1, default=4.0),
    'on_divergence': choice('say', 'rollback', 'stop', default='say'),
    'max_rollbacks': count(default=3),
    'ema_decay': Key(float, low=0, high=0.999999, default=0.0),
    'dirty': choice('none', 'a', 'b', default='none'),
    'display_guided': Key(bool, default=False, trainers=('MUNIT',)),
    'log_styles': Key(bool, default=False, trainers=('MUNIT',)),
    'vgg_weights': Key(str, default='models/vgg16.weight'),
    'precision': choice(*PRECISIONS, default='fp32'),
    'deterministic': Key(bool, default=False),
    'channels_last': Key(bool, default=False),
    'compile': Key(bool, default=False),
    'cuda_graphs': Key(bool, default=False),
    'fused': Key(bool, default=True),
    'checkpoint_activations': Key(bool, default=False),
    'cache': choice('none', 'ram', default='none'),
    'tracker': choice('none', 'wandb', 'mlflow', default='none'),
    'keep_snapshots': Key(int, low=0, default=0),
    'max_bad_steps': count(default=10),
    'max_bad_images': Key(int, low=0, default=100),
    'gen': Key(dict),
    'dis': Key(dict),
    'input_dim_a': count(high=MAX_CHANNELS),
    'input_dim_b': count(high=MAX_CHANNELS),
    'num_workers': Key(int, low=0),
    'new_size': count(default=NO_DEFAULT),
    'new_size_a': count(default=NO_DEFAULT),
    'new_size_b': count(default=NO_DEFAULT),
    'resize': choice('shorter', 'fit', 'none', default='shorter'),
    'crop_image_height': count(),
    'crop_image_width': count(),
    'flip': Key(bool, default=True),
    'flip_vertical': Key(bool, default=False),
    'value_range_a': Key(list, default=NO_DEFAULT),
    'value_range_b': Key(list, default=NO_DEFAULT),
    'data_root': Key(str, default=NO_DEFAULT),
    'follow_links': Key(bool, default=False),
    'test_share': Key(float, low=0, high=0.5, default=0.05),
    'data_timeout': Key(float, low=0, default=600.0),
    **{key: Key(str, default=NO_DEFAULT) for key in LIST_KEYS},
}


class Schema(NamedTuple):
    """The config keys of a method: top-level keys, keys of the sections `gen` and `dis`, and a check of all sizes.

    `check_sizes` takes a config whose values have the right types, and returns error messages of one line each. It is
    called only if no other error message starts with one of `size_keys`.
    """
    name: str
    keys: dict[str, Key]
    gen: dict[str, Key]
    dis: dict[str, Key]
    check_sizes: Callable[[dict], list[str]]
    size_keys: tuple[str, ...] = SIZE_KEYS


def check_sizes(config: dict, smallest: int) -> list[str]:
    """Return an error message for each crop size that does not fit the resized images or the networks."""
    faults = crop_faults(config) + vgg_faults(config)
    gen, dis = config['gen'], config['dis']
    step = 2 ** gen['n_downsample']
    smallest = max(2 * step, smallest)
    if config['vgg_w'] > 0:
        smallest = max(smallest, 16)   # relu5_3 has an eighth of the side; instance norm requires more than one value
    for name in ('crop_image_height', 'crop_image_width'):
        crop = config[name]
        if crop % step:
            faults.append(f'{name}: {crop} is not a multiple of {step}, 2 to the power gen.n_downsample')
        if crop < smallest:
            faults.append(f'{name}: {crop} is too small for the encoders, at least {smallest}')
    height, width = config['crop_image_height'], config['crop_image_width']
    if not faults and not discriminator_fits(height, width, dis, config['batch_size']):
        layers = f'dis.n_layer {dis["n_layer"]} and dis.num_scales {dis["num_scales"]} with dis.norm {dis["norm"]}'
        faults.append(f'crop_image_height, crop_image_width: {height}×{width} is too small for {layers}')
    return faults


def vgg_faults(config: dict) -> list[str]:
    """Return an error message for each domain whose number of channels VGG-16 cannot take, if it is used."""
    if config['vgg_w'] == 0:
        return []
    return [f'vgg_w: {config["vgg_w"]:g}, but VGG-16 takes images of 1 or 3 channels and {key} is {config[key]}; set '
            f'it to 0' for key in ('input_dim_a', 'input_dim_b') if config[key] not in PICTURES]


def crop_faults(config: dict) -> list[str]:
    """Return an error message if both sides of the crop are longer than the shorter side of all resized images.

    If only one side of the crop is longer, whether it fits depends on the images; `engine.config` checks this.
    """
    names = ('crop_image_height', 'crop_image_width')
    sizes = ['new_size'] if 'new_size' in config else ['new_size_a', 'new_size_b']
    if config['resize'] != 'shorter':
        return []
    return [f'{name}: {config[name]} is larger than {size} {config[size]}; lower it, or raise {size}'
            for name in names for size in sizes if min(config[n] for n in names) > config[size]]


def discriminator_fits(height: int, width: int, dis: dict, batch_size: int) -> bool:
    """Return whether the input of every layer is large enough to downsample, pad and normalise, at every scale."""
    for _ in range(dis['num_scales']):
        h, w = height, width
        for layer in range(dis['n_layer']):
            if min(h, w) < 2:
                return False
            h, w = h // 2, w // 2
            values = h * w * (batch_size if dis['norm'] == 'bn' else 1)
            if layer > 0 and dis['norm'] in ('in', 'bn') and values < 2:
                return False
        height, width = (height + 1) // 2, (width + 1) // 2
    return True


def with_defaults(config: dict, schema: Schema) -> dict:
    """Return a copy of the config in which missing keys have their defaults."""
    def filled(section: dict, keys: dict[str, Key]) -> dict:
        return {**{name: key.default for name, key in keys.items() if key.default not in (REQUIRED, NO_DEFAULT)},
                **section}

    config = filled(config, schema.keys)
    return {**config, 'gen': filled(config['gen'], schema.gen), 'dis': filled(config['dis'], schema.dis)}


MUNIT = Schema('MUNIT', KEYS, GEN_KEYS, DIS_KEYS, partial(check_sizes, smallest=2 ** STYLE_HALVINGS))
UNIT = Schema('UNIT', KEYS, GEN_KEYS, DIS_KEYS, partial(check_sizes, smallest=4))
