"""Weights and images that any implementation can reproduce, to compare the original's numbers with ours.

Each parameter is drawn from a seed that depends on its name, so that equal names and shapes give equal weights.
"""
import copy
import zlib

import numpy as np
import torch

CONFIG = {
    'image_save_iter': 10, 'image_display_iter': 10, 'display_size': 2, 'snapshot_save_iter': 10, 'log_iter': 1,
    'max_iter': 10, 'batch_size': 1, 'weight_decay': 0.0001, 'beta1': 0.5, 'beta2': 0.999, 'init': 'kaiming',
    'lr': 0.0001, 'lr_policy': 'step', 'step_size': 100000, 'gamma': 0.5, 'gan_w': 1, 'recon_x_w': 10,
    'recon_s_w': 1, 'recon_c_w': 1, 'recon_x_cyc_w': 0, 'vgg_w': 0, 'vgg_weights': 'models/none.weight',
    'gen': {'dim': 8, 'mlp_dim': 16, 'style_dim': 8, 'activ': 'relu', 'n_downsample': 2, 'n_res': 4,
            'pad_type': 'reflect'},
    'dis': {'dim': 8, 'norm': 'none', 'activ': 'lrelu', 'n_layer': 4, 'gan_type': 'lsgan', 'num_scales': 3,
            'pad_type': 'reflect'},
    'input_dim_a': 3, 'input_dim_b': 3, 'num_workers': 0, 'new_size': 64, 'crop_image_height': 64,
    'crop_image_width': 64}


def config_with(**changes) -> dict:
    """The config of the original's numbers, with changed values; sections are merged."""
    config = copy.deepcopy(CONFIG)
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    return config


def fill(network: torch.nn.Module, name: str) -> None:
    """Fill every entry of the state_dict with values that depend on its name and shape."""
    network.load_state_dict({key: torch.from_numpy(_values(f'{name}.{key}', tuple(value.shape))).to(value.dtype)
                             for key, value in network.state_dict().items()})


def _values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    leaf = name.split('.')[-1]
    random = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)
    if leaf in ('running_mean', 'num_batches_tracked'):
        values = np.zeros(shape)
    elif leaf == 'running_var':
        values = np.ones(shape)
    elif leaf == 'gamma':
        values = random.uniform(0.5, 1.5, shape)
    elif len(shape) >= 2:
        values = random.standard_normal(shape) * np.sqrt(2 / int(np.prod(shape[1:])))
    else:
        values = random.standard_normal(shape).astype(np.float32)
        values = values / np.linalg.norm(values) if leaf.endswith(('_u', '_v')) else 0.05 * values
    return values.astype(np.float32)


def waves(seed: int, n: int, channels: int, height: int, width: int) -> torch.Tensor:
    """Smooth images (n, channels, height, width) in [-1, 1]: four waves per channel and a little noise."""
    random = np.random.RandomState(seed)
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing='ij')
    images = np.zeros((n, channels, height, width))
    for i in range(n):
        for c in range(channels):
            for _ in range(4):
                fx, fy = random.uniform(0, 6), random.uniform(0, 6)
                phase, amplitude = random.uniform(0, 6.28), random.uniform(0.2, 0.6)
                images[i, c] += amplitude * np.sin(6.28 * (fx * x + fy * y) + phase)
    images += 0.1 * random.standard_normal(images.shape)
    return torch.from_numpy(images.clip(-1, 1).astype(np.float32))


def filled_trainer(trainer_class, config: dict):
    """A trainer whose networks, including VGG, are filled with weights that depend on their names."""
    torch.manual_seed(0)
    trainer = trainer_class(config)
    for name in ('gen_a', 'gen_b', 'dis_a', 'dis_b'):
        fill(getattr(trainer, name), name)
    if config['vgg_w'] > 0:
        fill(trainer.vgg, 'vgg')
    return trainer


def assert_digest(tensor: torch.Tensor, digest: dict, loose: bool = False) -> None:
    """Compare a tensor with recorded numbers: shape, mean, mean absolute value, and eight values spread over it."""
    assert list(tensor.shape) == digest['shape']
    flat = tensor.detach().double().flatten()
    scale = max(digest['abs'], 1e-3)
    room = 2e-3 if loose else 2e-4
    assert abs(flat.mean() - digest['mean']) <= room * scale
    assert abs(flat.abs().mean() - digest['abs']) <= room * scale
    at = flat[np.linspace(0, flat.numel() - 1, 8).astype(int)].numpy()
    assert np.abs(at - digest['at']).max() <= (8e-4 + 1e-2 * scale if loose else 1e-3 * scale)
