"""The keys that trade precision, memory and time: what each may change, and what it may not."""
import copy

import pytest
import torch
from parity import config_with, filled_trainer, waves
from torch.utils.flop_counter import FlopCounterMode

from core import precision
from engine.config import check_config
from trainer import MUNIT_Trainer, UNIT_Trainer

UNIT = {'recon_kl_w': 0.01, 'recon_kl_cyc_w': 0.01, 'recon_x_cyc_w': 10}
SMALL = {'gen': {'n_res': 1}, 'dis': {'n_layer': 2, 'num_scales': 2}}
both_trainers = pytest.mark.parametrize('trainer_class, changes', [(MUNIT_Trainer, {}), (UNIT_Trainer, UNIT)])


def losses_of(trainer, steps: int = 2, memory_format=torch.contiguous_format) -> list[float]:
    torch.manual_seed(1)
    found = []
    for i in range(steps):
        x_a, x_b = (waves(seed, 2, 3, 64, 64).contiguous(memory_format=memory_format) for seed in (i, i + 9))
        found += [float(value) for value in trainer.update(x_a, x_b).values()]
    return found


@pytest.fixture(scope='module')
def plain():
    return losses_of(filled_trainer(MUNIT_Trainer, config_with()))


@pytest.mark.parametrize('changes', [{'fused': False}, {'checkpoint_activations': True}], ids=str)
def test_the_same_losses_come_of(plain, changes):
    assert losses_of(filled_trainer(MUNIT_Trainer, config_with(**changes))) == pytest.approx(plain, rel=1e-4)


def test_the_same_losses_come_with_channels_last(plain):
    trainer = filled_trainer(MUNIT_Trainer, config_with()).to(memory_format=torch.channels_last)
    found = losses_of(trainer, memory_format=torch.channels_last)
    assert trainer.gen_a.enc_content.model[1].conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert found == pytest.approx(plain, rel=1e-4)


@both_trainers
def test_bfloat16_is_near_and_leaves_weights_moments_and_losses_in_32_bits(trainer_class, changes):
    wanted = losses_of(filled_trainer(trainer_class, config_with(**changes)))
    trainer = filled_trainer(trainer_class, config_with(precision='bf16', **changes))
    found = losses_of(trainer)
    assert found == pytest.approx(wanted, rel=0.1, abs=0.02) and found != pytest.approx(wanted, rel=1e-5)
    moments = [entry['exp_avg'] for entry in trainer.gen_opt.state.values()]
    assert {t.dtype for t in [*trainer.parameters(), *moments]} == {torch.float32}
    assert trainer.update(waves(1, 1, 3, 64, 64), waves(2, 1, 3, 64, 64))['loss_gen_total'].dtype == torch.float32
    with precision.autocast('bf16', 'cpu'):
        assert trainer.gen_a(waves(1, 1, 3, 64, 64)).dtype == torch.bfloat16


def test_norms_take_their_statistics_in_32_bits():
    """With a mean a hundred times the deviation, 8 bits of mantissa would lose the values."""
    from networks import AdaptiveInstanceNorm2d, InstanceNorm2d, LayerNorm
    x = (torch.randn(1, 4, 16, 16) + 100).bfloat16()
    layer = LayerNorm(4)
    torch.nn.init.ones_(layer.gamma)
    adain = torch.tensor([0.0, 1.0]).view(1, 2, 1).expand(1, 2, 4)
    for norm in (layer, InstanceNorm2d(4), lambda x: AdaptiveInstanceNorm2d(4)(x, adain)):
        with torch.no_grad():
            assert torch.allclose(norm(x).float(), norm(x.float()), atol=0.02)


def test_checkpointed_activations_are_not_kept():
    def kept(**changes) -> int:
        trainer, sizes = filled_trainer(MUNIT_Trainer, config_with(**changes)), []
        hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t)
        with hooks:
            trainer.gen_a(waves(1, 1, 3, 64, 64))
        return sum(sizes)

    assert kept(checkpoint_activations=True) < 0.5 * kept()


def test_a_generator_with_checkpointed_activations_can_be_copied():
    generator = filled_trainer(MUNIT_Trainer, config_with(checkpoint_activations=True)).gen_a
    copied, x = copy.deepcopy(generator), waves(1, 1, 3, 64, 64)
    with torch.no_grad():
        wanted = generator(x)
        for parameter in generator.parameters():
            parameter.zero_()
        assert torch.equal(copied(x), wanted)


@both_trainers
@pytest.mark.slow
def test_an_iteration_compiles_without_a_break_and_stays_the_same(trainer_class, changes):
    config = config_with(recon_x_cyc_w=1, gen={'n_res': 1, 'dim': 4}, dis={'n_layer': 2, 'num_scales': 2, 'dim': 4},
                         **{key: value for key, value in changes.items() if key != 'recon_x_cyc_w'})
    wanted = losses_of(filled_trainer(trainer_class, config))
    torch._dynamo.reset()
    trainer = filled_trainer(trainer_class, config)
    trainer.compile_step(backend='aot_eager')     # fullgraph: a break would be an error
    assert losses_of(trainer) == pytest.approx(wanted, rel=1e-5)
    compiled = torch._dynamo.utils.counters['stats']['unique_graphs']
    losses_of(trainer)
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] == compiled > 0    # and no recompilation


@both_trainers
def test_update_encodes_once_for_both_updates(trainer_class, changes):
    trainer = filled_trainer(trainer_class, config_with(**changes))
    x_a, x_b = waves(1, 1, 3, 64, 64), waves(2, 1, 3, 64, 64)

    def flops(*calls) -> int:
        with FlopCounterMode(display=False) as counter:
            for call in calls:
                call(x_a, x_b)
        return counter.get_total_flops()

    apart = flops(trainer.dis_update, trainer.gen_update)
    assert apart - flops(trainer.update) == flops(torch.no_grad()(trainer.encode)) > 0


def test_fp32_means_32_bits_everywhere_and_tf32_nowhere_else():
    try:
        for name, wanted in (('tf32', True), ('bf16', True), ('fp32', False)):
            precision.set_precision(name)
            assert torch.backends.cudnn.allow_tf32 is wanted
            assert torch.backends.cuda.matmul.allow_tf32 is wanted
        with pytest.raises(ValueError, match='not one of fp32, tf32, bf16'):
            precision.set_precision('fp16')
    finally:
        precision.set_precision('fp32')


@pytest.mark.parametrize('changes, words', [
    ({'precision': 'fp16'}, "precision: 'fp16' is not one of fp32, tf32, bf16"),
    ({'compile': 'yes please'}, 'compile: .* is not true or false'),
    ({'cuda_graphs': True, 'fused': False}, 'cuda_graphs requires fused: true'),
    ({'cache': 'disk'}, "cache: 'disk' is not one of none, ram"),
    ({'max_bad_steps': 0}, 'max_bad_steps: 0 is not at least 1'),
])
def test_faults_of_the_keys_are_named(changes, words):
    import re
    faults = check_config(config_with(data_root='.', **changes))
    assert any(re.search(words, fault) for fault in faults), faults
