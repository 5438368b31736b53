"""An untrained MUNIT whose styles differ visibly, for tests of commands that take a checkpoint."""
from pathlib import Path

import torch
import yaml
from parity import config_with, fill
from test_commands import save_noise

from networks import AdaINGen


def make_model(folder: Path, **changes) -> dict:
    """Write a config, a checkpoint and two inputs of 64×64 to a folder; `changes` apply to the config."""
    config = config_with(data_root='nowhere', **{**changes, 'gen': {'n_res': 1, **changes.get('gen', {})}})
    (folder / 'config.yaml').write_text(yaml.safe_dump(config))
    gens = {name: AdaINGen(config[f'input_dim_{name}'], config['gen']) for name in 'ab'}
    for name, gen in gens.items():
        fill(gen, f'gen_{name}')
    torch.save({name: gen.state_dict() for name, gen in gens.items()}, folder / 'gen.pt')
    for i in range(2):
        save_noise(folder / 'in' / f'{i}.png', seed=i)
    return {'config': folder / 'config.yaml', 'checkpoint': folder / 'gen.pt', 'inputs': folder / 'in', 'device': 'cpu'}


def flags(model: dict, **others) -> list[str]:
    """The command line of the model and further flags."""
    taken = {key: value for key, value in model.items() if key != 'inputs'}
    return [f'--{key}={value}' for key, value in {**taken, **others}.items()]
