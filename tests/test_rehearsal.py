"""Tests of GPU behaviour on a machine without a GPU.

On PyTorch's meta device, tensors have shapes and no values. Mixing devices raises an error there, and so does
everything that would wait for a GPU, such as `.item()` or an `if` on a tensor.
"""
import contextlib
import copy
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from parity import config_with, filled_trainer, waves
from torch.utils._python_dispatch import TorchDispatchMode

from core import precision
from core.noise import Noise, NoiseTape
from engine import cuda_graph
from engine.config import check_config, load_config
from engine.cuda_graph import WARM_UP, GraphedUpdate
from engine.methods import trainer_class, translator_class
from engine.translator import make_translator
from trainer import MUNIT_Trainer, UNIT_Trainer
from utils import to_bytes, to_picture

ROOT = Path(__file__).resolve().parents[1]
SMALL = {'gen': {'dim': 4, 'n_res': 1, 'mlp_dim': 8}, 'dis': {'dim': 4, 'n_layer': 2, 'num_scales': 2}}
# Operations that launch no kernel: views and allocations.
FREE = {'detach', 'view', '_unsafe_view', '_reshape_alias', 'unsqueeze', 'squeeze', 'slice', 'select', 'as_strided',
        'expand', 'transpose', 'permute', 't', 'alias', 'split', 'split_with_sizes', 'chunk', 'unbind', 'empty',
        'empty_like', 'empty_strided', 'new_empty', 'new_empty_strided', 'unfold', 'narrow', 'lift_fresh',
        'is_same_size', '_record_function_enter_new', '_record_function_exit', 'diagonal', 'real'}


class Launches(TorchDispatchMode):
    """Counts the operations that launch kernels."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__ not in FREE
        return func(*args, **(kwargs or {}))


@pytest.fixture
def meta():
    """Allow trainers on the meta device. Fused Adam works on it but does not list it as a supported device."""
    torch.__future__.set_swap_module_params_on_conversion(True)   # the optimizers keep the same parameters
    with mock.patch.object(sys.modules['torch.optim.adam'], '_device_dtype_check_for_fused', lambda *_, **__: None):
        yield
    torch.__future__.set_swap_module_params_on_conversion(False)


def on_meta(trainer_cls, config: dict, n: int = 2, size: int = 64):
    """A trainer on the meta device, after one update, and images for it."""
    trainer = trainer_cls(config).to('meta')
    x_a, x_b = (torch.rand(n, config[f'input_dim_{name}'], size, size, device='meta') for name in 'ab')
    trainer.update_learning_rate()
    trainer.update(x_a, x_b)
    return trainer, x_a, x_b


OPTIONS = {
    'plain': {},
    'cycle, hinge, averages': {'recon_x_cyc_w': 5, 'ema_decay': 0.9, 'dis': {'gan_type': 'hinge'}},
    'corrupted inputs, statistics, clipping': {'dirty': 'b', 'log_styles': True, 'grad_clip': 'auto'},
    'spectral norms, a fixed clip': {'grad_clip': 5.0, 'dis': {'norm': 'sn'}, 'gen': {'spectral_norm': True}},
    'layer norm, cross-entropy, zero padding': {'dis': {'norm': 'ln', 'gan_type': 'nsgan'},
                                                'gen': {'pad_type': 'zero'}},
    'batch norm, replicate, recomputing': {'dis': {'norm': 'bn'}, 'gen': {'pad_type': 'replicate'},
                                           'checkpoint_activations': True},
    'augmentation, gradient penalty': {'dis': {'augment': 'color,translation,cutout', 'r1_w': 0.1, 'r1_every': 1}},
    'grey to colour, bf16': {'input_dim_a': 1, 'precision': 'bf16', 'dis_lr': 4e-4},
}


@pytest.mark.parametrize('trainer_cls', [MUNIT_Trainer, UNIT_Trainer])
@pytest.mark.parametrize('options', OPTIONS.values(), ids=OPTIONS)
def test_an_iteration_keeps_to_its_device_and_waits_for_nothing(meta, trainer_cls, options):
    changes = {key: {**SMALL.get(key, {}), **value} if isinstance(value, dict) else value
               for key, value in {**SMALL, **options}.items()}
    if trainer_cls is UNIT_Trainer:
        changes = {key: value for key, value in changes.items() if key != 'log_styles'}
        changes |= {'recon_kl_w': 0.01, 'recon_kl_cyc_w': 0.01}
    trainer, x_a, x_b = on_meta(trainer_cls, config_with(**changes))
    trainer.update_learning_rate()
    losses = trainer.update(x_a, x_b)
    assert losses and all(value.is_meta for value in losses.values())
    assert all(p.is_meta for p in trainer.parameters()) and all(b.is_meta for b in trainer.buffers())
    rows = trainer.sample(x_a, x_b)
    assert all(row.is_meta for row in rows) and all(code.is_meta for code in trainer.style_codes(x_a, x_b).values())


def test_the_rehearsal_notices_an_iteration_that_waits(meta):
    with pytest.raises((RuntimeError, NotImplementedError)):   # `elif finite` for Adam without the fused kernel
        on_meta(MUNIT_Trainer, config_with(fused=False, **SMALL))


@pytest.mark.parametrize('name', ['CycleGAN', 'CycleGANNoise', 'BicycleGAN'])
def test_the_baselines_keep_to_their_device(meta, name):
    small = {'dim': 4} if name == 'CycleGAN' else {'dim': 4, 'n_downsample': 6}
    config = {'max_iter': 10, 'new_size': 64, 'data_root': 'x', 'crop_image_height': 64, 'crop_image_width': 64,
              'gen': small, 'dis': {'dim': 4}}
    assert check_config(config, name) == []
    trainer, x_a, x_b = on_meta(trainer_class(name), config)
    assert all(value.is_meta for value in trainer.update(x_a, x_b).values())


@pytest.mark.parametrize('method', ['MUNIT', 'UNIT'])
def test_translation_keeps_to_its_device(tmp_path, method):
    """Images are read, and styles drawn, on the CPU."""
    config = config_with(**SMALL, recon_kl_w=0.01, recon_kl_cyc_w=0.01)
    torch.save({name: net.state_dict() for name, net in translator_class(method).networks(config, method).items()},
               tmp_path / 'gen.pt')
    translator = make_translator(config, tmp_path / 'gen.pt', True, method, torch.device('meta'), 'bf16')
    images, styles = torch.rand(3, 3, 50, 70), translator.draw_styles(2) if translator.samples else None
    outputs = translator.translate_batch(images, styles, 64 * 64)
    assert outputs.is_meta and outputs.shape == (3, 2 if translator.samples else 1, 3, 50, 70)
    assert to_bytes(to_picture(outputs)).is_meta
    if method == 'MUNIT':
        assert translator.encode_style(images[:1]).is_meta


def test_the_standard_update_launches_a_bounded_number_of_kernels(meta):
    """It was 2,431 when autograd computed the gradients of edges, AdaIN parameters and losses."""
    config = load_config(ROOT / 'configs' / 'edges2shoes_folder.yaml')
    trainer, x_a, x_b = on_meta(MUNIT_Trainer, config, 1, 256)
    trainer.update_learning_rate()
    with Launches() as launches:
        trainer.update(x_a, x_b)
    assert 1500 < launches.count <= 1800


# -- the iteration as a CUDA graph, with a stand-in for CUDA ----------------------------------------------------------

class FakeGraph:
    """A stand-in for `torch.cuda.CUDAGraph`: replaying computes the update on the captured tensors."""

    def __init__(self, owner):
        self.owner = owner
        self.recordings = 0

    @contextlib.contextmanager
    def record(self, graph, capture_error_mode):
        assert capture_error_mode == 'thread_local'
        self.recordings += 1
        trainer = self.owner.trainer
        before = [tensor.detach().clone() for tensor in self.state(trainer)]
        yield   # a capture computes nothing
        with torch.no_grad():
            for tensor, value in zip(self.state(trainer), before, strict=True):
                tensor.copy_(value)

    @staticmethod
    def state(trainer) -> list:
        moments = [value for optimizer in trainer._optimizers().values() for of in optimizer.state.values()
                   for value in of.values()]
        return [*trainer.parameters(), *trainer.buffers(), *moments]

    def replay(self):
        owner = self.owner
        owner.tape.place, owner.trainer.noise = 0, owner.tape
        owner.losses = torch.stack([loss.float() for loss in owner.update(owner.x_a, owner.x_b).values()])
        owner.trainer.noise = Noise()


@pytest.fixture
def fake_cuda():
    """Replace the CUDA functions that `engine.cuda_graph` uses. Returns the list of created graphs."""
    made = []

    @contextlib.contextmanager
    def graph(of, **options):
        with of.record(of, **options):
            yield

    def make():
        made.append(FakeGraph(made_by[0]))
        return made[-1]

    made_by = []
    stream = mock.Mock()
    with mock.patch.multiple(cuda_graph.torch.cuda, CUDAGraph=make, graph=graph, Stream=lambda: stream,
                             current_stream=lambda: stream, stream=lambda _: contextlib.nullcontext()):
        yield made, made_by


GRAPHED = config_with(ema_decay=0.9, dirty='a', grad_clip='auto', step_size=2, recon_x_cyc_w=5, **SMALL)


def run(trainer, update, iterations: range) -> list[dict]:
    rows = []
    for i in iterations:
        torch.manual_seed(i)
        trainer.update_learning_rate()
        losses = update(waves(i, 2, 3, 64, 64), waves(100 + i, 2, 3, 64, 64))
        rows.append({name: float(value) for name, value in losses.items()})
    return rows


def assert_alike(found: list[dict], wanted: list[dict]) -> None:
    """Up to rounding: a graph's learning rate is a 32-bit tensor."""
    for got, want in zip(found, wanted, strict=True):
        assert got == pytest.approx(want, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize('trainer_cls, changes', [
    (MUNIT_Trainer, {}), (UNIT_Trainer, {'recon_kl_w': 0.01, 'recon_kl_cyc_w': 0.01}),
    # The penalty is due in the fourth iteration, where the graph would be captured, and in the eighth.
    (MUNIT_Trainer, {'dis': {**GRAPHED['dis'], 'augment': 'color,cutout', 'r1_w': 0.1, 'r1_every': 4}})])
def test_a_graph_learns_what_single_operations_learn(fake_cuda, trainer_cls, changes):
    """Noise, the falling learning rate and the growing share of the averages reach a graph that was captured once."""
    made, made_by = fake_cuda
    config = {**copy.deepcopy(GRAPHED), **changes}
    plain = filled_trainer(trainer_cls, config)
    wanted = run(plain, plain.update, range(WARM_UP + 5))
    trainer = filled_trainer(trainer_cls, config)
    graphed = GraphedUpdate(trainer)
    made_by.append(graphed)
    assert_alike(run(trainer, graphed, range(WARM_UP + 5)), wanted)
    assert len(made) == 1 and made[0].recordings == 1
    for (name, one), other in zip(trainer.state_dict().items(), plain.state_dict().values(), strict=True):
        # The gradient of a bias that a norm removes is rounding noise, which Adam scales to steps of the learning rate.
        atol = 1e-3 if name.endswith('conv.bias') else 1e-5
        torch.testing.assert_close(one, other, rtol=1e-3, atol=atol, msg=name)


def test_a_snapshot_with_a_graph_is_an_ordinary_one_and_resuming_captures_again(fake_cuda, tmp_path):
    made, made_by = fake_cuda
    plain = filled_trainer(MUNIT_Trainer, GRAPHED)
    wanted = run(plain, plain.update, range(2 * WARM_UP + 4))
    trainer = filled_trainer(MUNIT_Trainer, GRAPHED)
    graphed = GraphedUpdate(trainer)
    made_by.append(graphed)
    run(trainer, graphed, range(WARM_UP + 2))
    trainer.save(tmp_path, WARM_UP + 2)
    state = torch.load(tmp_path / f'state_{WARM_UP + 2:08d}.pt', weights_only=True)
    group = state['gen']['param_groups'][0]
    assert isinstance(group['lr'], float) and not group['capturable']
    run(trainer, graphed, range(20, 22))                           # iterations that a rollback forgets
    assert trainer.resume(tmp_path) == WARM_UP + 2
    assert_alike(run(trainer, graphed, range(WARM_UP + 2, 2 * WARM_UP + 4)), wanted[WARM_UP + 2:])
    assert len(made) == 2


def test_a_graph_is_recorded_again_for_images_of_another_size(fake_cuda):
    made, made_by = fake_cuda
    trainer = filled_trainer(MUNIT_Trainer, config_with(**SMALL))
    graphed = GraphedUpdate(trainer)
    made_by.append(graphed)
    for size in (64, 64, 64, 64, 96, 96, 96, 96):
        trainer.update_learning_rate()
        graphed(waves(1, 1, 3, size, 64), waves(2, 1, 3, size, 64))
    assert [graph.recordings for graph in made] == [1, 1]


def test_the_tape_draws_what_the_generator_of_the_cpu_draws():
    tape, cpu = NoiseTape(), torch.device('cpu')
    tape.normal((2, 8), cpu), tape.uniform((3,), cpu)
    tape.sealed = True
    first, second = tape.normal((2, 8), cpu), tape.uniform((3,), cpu)
    torch.manual_seed(5)
    tape.refill()
    torch.manual_seed(5)
    assert torch.equal(first, torch.randn(2, 8)) and torch.equal(second, torch.rand(3))
    with pytest.raises(RuntimeError, match='other noise'):
        tape.normal((4, 4), cpu)


# -- what runs on the GPU, at tiny sizes ------------------------------------------------------------------------------

@pytest.mark.slow
def test_an_update_is_compiled_once_whatever_the_learning_rate():
    """Traced as by the compiler, without generating kernels, which takes minutes on a CPU."""
    config = config_with(gen={'n_res': 1, 'dim': 4}, step_size=3, grad_clip='auto', ema_decay=0.9, dirty='a',
                         log_styles=True, recon_x_cyc_w=1, precision='bf16',
                         dis={'n_layer': 2, 'num_scales': 1, 'dim': 4, 'augment': 'color,translation,cutout',
                              'r1_w': 0.1, 'r1_every': 3})
    torch._dynamo.reset()
    trainer = filled_trainer(MUNIT_Trainer, config)
    trainer.compile_step(backend='aot_eager')
    run(trainer, trainer.update, range(2))
    with torch._dynamo.config.patch(error_on_recompile=True):
        run(trainer, trainer.update, range(2, 8))


@pytest.mark.slow
def test_the_compilers_own_kernels_learn_the_same():
    """Of the discriminator, which is small enough for a test."""
    config = config_with(dis={'n_layer': 2, 'num_scales': 1, 'dim': 4})
    gradients = []
    for compiled in (False, True):
        trainer = filled_trainer(MUNIT_Trainer, config)
        torch._dynamo.reset()
        loss = torch.compile(trainer.dis_loss, fullgraph=True) if compiled else trainer.dis_loss
        loss('a', waves(1, 1, 3, 64, 64), waves(2, 1, 3, 64, 64)).backward()
        gradients.append([p.grad for p in trainer.dis_a.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_the_benchmarks_for_a_gpu_run_at_tiny_sizes_on_a_cpu(tmp_path):
    environment = {**os.environ, 'REHEARSE': '1', 'OUT': str(tmp_path), 'PYTHON': sys.executable,
                   'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    done = subprocess.run(['bash', ROOT / 'benchmarks' / 'gpu.sh'], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {
        'devices.json', 'speed-batch-1.json', 'speed-batch-16.json', 'translation.json', 'profile.txt',
        'training-cuda_graphs.txt', 'training-no-cuda_graphs.txt'}
    assert 'cuda_graphs: has no effect here' in (tmp_path / 'training-cuda_graphs.txt').read_text()
    assert 'without effect' not in (tmp_path / 'training-no-cuda_graphs.txt').read_text()


def test_full_precision_around_a_device_without_autocast():
    with precision.autocast('bf16', 'meta'), precision.without_autocast('meta'):
        assert torch.ones(2, 2).mm(torch.ones(2, 2)).dtype == torch.float32
