"""Our computations against numbers that the original printed, with weights and images that seeds reproduce."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from parity import assert_digest, config_with, filled_trainer, waves

from trainer import MUNIT_Trainer, UNIT_Trainer

FIGURES = json.loads((Path(__file__).parent / 'parity_figures.json').read_text())
CASES = {'munit_lsgan': (MUNIT_Trainer, config_with()),
         'unit_lsgan': (UNIT_Trainer, config_with(recon_kl_w=0.01, recon_kl_cyc_w=0.01, recon_x_cyc_w=10))}
cases = pytest.mark.parametrize('case', CASES)


def three_iterations(trainer, update) -> list[dict]:
    torch.manual_seed(1234)
    rows = []
    for i in range(3):
        trainer.update_learning_rate()
        losses = update(trainer, waves(10 + i, 1, 3, 64, 64), waves(20 + i, 1, 3, 64, 64))
        rows.append({name: float(value) for name, value in losses.items()})
    return rows


def apart(trainer, x_a, x_b):
    return {**trainer.dis_update(x_a, x_b), **trainer.gen_update(x_a, x_b)}


def together(trainer, x_a, x_b):
    return trainer.update(x_a, x_b)


@cases
@pytest.mark.parametrize('network', ['gen_a', 'dis_a'])
def test_keys_shapes_and_order_are_the_originals(case, network):
    trainer_class, config = CASES[case]
    state = getattr(trainer_class(config), network).state_dict()
    assert [(key, list(value.shape)) for key, value in state.items()] == list(FIGURES[case]['keys'][network].items())


@cases
def test_forward_values_are_the_originals(case):
    trainer_class, config = CASES[case]
    trainer, x_a = filled_trainer(trainer_class, config), waves(1, 1, 3, 64, 64)
    with torch.no_grad():
        if trainer_class is MUNIT_Trainer:
            content, style = trainer.gen_a.encode(x_a)
            assert_digest(style, FIGURES[case]['style'])
            given = torch.from_numpy(np.random.RandomState(5).standard_normal((1, 8, 1, 1)).astype(np.float32))
            reconstruction, translation = trainer.gen_a.decode(content, style), trainer.gen_b.decode(content, given)
        else:
            content, _ = trainer.gen_a.encode(x_a)
            reconstruction, translation = trainer.gen_a.decode(content), trainer.gen_b.decode(content)
        assert_digest(content, FIGURES[case]['content'])
        assert_digest(reconstruction, FIGURES[case]['reconstruction'])
        assert_digest(translation, FIGURES[case]['translation'])
        for scores, digest in zip(trainer.dis_a(x_a), FIGURES[case]['discriminator'], strict=True):
            assert_digest(scores, digest)


@cases
@pytest.mark.parametrize('update', [apart, together])
def test_losses_and_weights_of_three_iterations_are_the_originals(case, update):
    trainer_class, config = CASES[case]
    trainer = filled_trainer(trainer_class, config)
    for row, wanted in zip(three_iterations(trainer, update), FIGURES[case]['steps'], strict=True):
        wanted = {name: value for name, value in wanted.items() if name != 'lr'}
        assert row.keys() == wanted.keys()
        for name, value in wanted.items():
            assert row[name] == pytest.approx(value, rel=2e-3, abs=1e-4), name
    for network in ('gen_a', 'dis_b'):
        state = getattr(trainer, network).state_dict()
        for key, digest in FIGURES[case]['after'][network].items():
            assert_digest(state[key], digest, loose=True)


@pytest.mark.parametrize('changes', [
    {'recon_x_cyc_w': 10}, {'dis': {'gan_type': 'nsgan'}}, {'dis': {'norm': 'sn'}}, {'dis': {'norm': 'ln'}},
    {'input_dim_a': 1}, {'gen': {'n_downsample': 3, 'activ': 'prelu', 'pad_type': 'zero'}}, {'vgg_w': 1}], ids=str)
def test_update_is_dis_update_then_gen_update(changes):
    config = config_with(**changes)
    results = []
    for update in (apart, together):
        trainer = filled_trainer(MUNIT_Trainer, config)
        torch.manual_seed(1)
        x_a, x_b = waves(1, 1, config['input_dim_a'], 64, 96), waves(2, 1, 3, 64, 96)
        losses = [update(trainer, x_a, x_b) for _ in range(2)]
        results.append([float(v) for row in losses for v in row.values()])
    assert results[0] == pytest.approx(results[1], rel=1e-4, abs=1e-6)
