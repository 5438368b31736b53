"""The config keys of the baselines, with their published values as defaults."""
from functools import partial
from typing import Any

from engine.config_keys import (
    KEYS,
    NO_DEFAULT,
    SIZE_KEYS,
    WIDEST,
    Key,
    Schema,
    choice,
    count,
    crop_faults,
    weight,
)
from extras.baselines.networks import INITS


def baseline_keys(weights: dict[str, float], defaults: dict[str, Any]) -> dict[str, Key]:
    """The keys of `KEYS` that apply to baselines, and loss weights, with the published values as defaults."""
    left_out = ('init', 'lr_policy', 'step_size', 'gamma', 'vgg_w', 'vgg_weights', 'ema_decay', 'dirty',
                'display_guided', 'log_styles')
    keys = {name: key for name, key in KEYS.items()
            if name not in left_out and not name.startswith(('gan_w', 'recon_'))}
    keys.update({name: weight(default=value) for name, value in weights.items()})
    keys.update({
        'init': choice(*INITS, default='gaussian'),
        'init_gain': Key(float, low=0, default=0.02),
        'lr_policy': choice('linear', 'constant', default='linear'),
        'decay_start': Key(int, low=0, default=NO_DEFAULT),   # half of max_iter
        'decay_end': count(default=NO_DEFAULT),              # max_iter
        # Both are implemented for MUNIT and UNIT only.
        'cuda_graphs': choice(False, default=False),
        'checkpoint_activations': choice(False, default=False)})
    published = {'image_save_iter': 10000, 'image_display_iter': 500, 'display_size': 16, 'snapshot_save_iter': 10000,
                 'log_iter': 10, 'batch_size': 1, 'weight_decay': 0.0, 'beta1': 0.5, 'beta2': 0.999, 'lr': 2e-4,
                 'gen': {}, 'dis': {}, 'input_dim_a': 3, 'input_dim_b': 3, 'num_workers': 8,
                 'crop_image_height': 256, 'crop_image_width': 256}
    for name, value in {**published, **defaults}.items():
        keys[name] = keys[name]._replace(default=value)
    return keys


DROPOUT = Key(float, low=0, high=0.95, default=0.5)
UNET_GEN = {'dim': count(high=WIDEST, default=64), 'n_downsample': count(high=12, default=NO_DEFAULT),
             'noise_dim': count(high=WIDEST, default=8), 'dropout': DROPOUT}
CYCLEGAN_WEIGHTS = {'gan_w': 1.0, 'recon_x_cyc_w': 10.0, 'identity_w': 5.0}


def patch_dis(num_scales: int) -> dict[str, Key]:
    return {'dim': count(high=WIDEST, default=64), 'n_layer': count(high=12, default=3),
            'num_scales': count(high=8, default=num_scales), 'gan_type': choice('lsgan', 'nsgan', default='lsgan')}


def check_sizes(config: dict, known: dict[str, Key]) -> list[str]:
    """Check that crops fit the networks of a baseline, and set the defaults that depend on other keys: the learning
    rate schedule, and the number of levels of a U-Net.

    Args:
        known: the keys of the method's section `gen`; the config may also have keys of other methods.

    Returns:
        The faults, one line each.
    """
    faults, gen, dis = crop_faults(config), config['gen'], config['dis']
    sizes = [config[name] for name in ('crop_image_height', 'crop_image_width')]
    if 'n_res' not in known:   # a U-Net: as many levels as both sizes can be halved, at most 8
        even = [n for n in range(1, 9) if all(size % 2 ** n == 0 for size in sizes)]
        gen.setdefault('n_downsample', max(even, default=1))
    step = 2 ** gen['n_downsample']
    smallest = 3 * 2 ** (dis['n_layer'] + dis['num_scales'] - 1)
    if 'enc_res' in known:
        smallest = max(smallest, 2 ** (gen['enc_res'] + 1))
    if 'n_res' in known:
        smallest = max(smallest, 2 * step, 4)
    for name, size in zip(('crop_image_height', 'crop_image_width'), sizes, strict=True):
        if size % step:
            faults.append(f'{name}: {size} is not a multiple of {step} (2 to the power of gen.n_downsample)')
        if size < smallest:
            faults.append(f'{name}: {size} is too small for the networks, which need at least {smallest} (dis.n_layer '
                          f'{dis["n_layer"]}, dis.num_scales {dis["num_scales"]})')
    if config.get('identity_w', 0) > 0 and config['input_dim_a'] != config['input_dim_b']:
        faults.append(f'identity_w: {config["identity_w"]:g} requires equal input_dim_a ({config["input_dim_a"]}) and '
                      f'input_dim_b ({config["input_dim_b"]}), as each generator is also given images of its target '
                      f'domain; set both to 3, or identity_w to 0')
    if 'enc_res' in known and config['batch_size'] % 2:
        faults.append(f'batch_size: {config["batch_size"]} is not even, as half of the pairs are encoded and half are '
                      f'not; choose an even number')
    config.setdefault('decay_end', config['max_iter'])
    config.setdefault('decay_start', min(config['max_iter'] // 2, config['decay_end']))
    if config['decay_start'] > config['decay_end']:
        faults.append(f'decay_start: {config["decay_start"]} is after decay_end {config["decay_end"]}')
    return faults


def schema(name: str, keys: dict[str, Key], gen: dict[str, Key], dis: dict[str, Key]) -> Schema:
    """The schema of a baseline."""
    return Schema(name, keys, gen, dis, partial(check_sizes, known=gen),
                  (*SIZE_KEYS, 'max_iter:', 'decay_', 'identity_w:', 'input_dim_'))


CYCLEGAN_KEYS = {**baseline_keys(CYCLEGAN_WEIGHTS, {}), 'pool_size': Key(int, low=0, high=10_000, default=50)}
CYCLEGAN = schema(
    'CycleGAN', CYCLEGAN_KEYS,
    {'dim': count(high=WIDEST, default=64), 'n_downsample': Key(int, low=0, high=12, default=2),
     'n_res': count(high=1000, default=9), 'dropout': DROPOUT}, patch_dis(1))
CYCLEGAN_NOISE = schema('CycleGANNoise', CYCLEGAN_KEYS, UNET_GEN, patch_dis(1))
BICYCLEGAN = schema(
    'BicycleGAN',
    baseline_keys({'gan_w': 1.0, 'gan2_w': 1.0, 'recon_x_w': 10.0, 'latent_w': 0.5, 'kl_w': 0.01},
                  {'batch_size': 2, 'init': 'xavier'}),
    {**UNET_GEN, 'enc_dim': count(high=WIDEST, default=64), 'enc_res': count(high=12, default=4)}, patch_dis(2))
