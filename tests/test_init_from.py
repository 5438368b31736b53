"""--init_from: complete checkpoints, partial matches, and discriminators."""
import argparse
import copy

import pytest
import torch
import yaml
from parity import config_with
from test_commands import complaint, save_noise

import train as train_command
from core.errors import BadInput
from engine.initial_weights import load_initial
from trainer import MUNIT_Trainer

SMALL = {'gen': {'n_res': 1, 'dim': 4, 'mlp_dim': 8}, 'dis': {'dim': 4, 'n_layer': 2, 'num_scales': 2}}


def make(seed: int, gen: dict | None = None, dis: dict | None = None, **changes) -> MUNIT_Trainer:
    torch.manual_seed(seed)
    return MUNIT_Trainer(config_with(**changes, gen={**SMALL['gen'], **(gen or {})},
                                     dis={**SMALL['dis'], **(dis or {})}))


@pytest.fixture(scope='module')
def donor(tmp_path_factory):
    """A trainer, and a run's folder with its snapshots of steps 5 and 10."""
    trainer, folder = make(1), tmp_path_factory.mktemp('donor') / 'outputs/name'
    (folder / 'checkpoints').mkdir(parents=True)
    make(9).save(folder / 'checkpoints', 5)
    trainer.save(folder / 'checkpoints', 10)
    return trainer, folder


def opts(init_from, dis=False, partial=False) -> argparse.Namespace:
    return argparse.Namespace(init_from=str(init_from), init_from_dis=dis, init_from_partial=partial)


def loaded(trainer, *arguments) -> tuple[list[str], dict, dict]:
    """The messages, and the state before and after."""
    before, lines = copy.deepcopy(trainer.state_dict()), []
    load_initial(trainer, opts(*arguments), lines.append)
    return lines, before, trainer.state_dict()


def equal(state: dict, other: dict, prefix: str) -> bool:
    return all(torch.equal(value, other[key]) for key, value in state.items() if key.startswith(prefix))


@pytest.mark.parametrize('place', ['checkpoints/gen_00000010.pt', 'checkpoints', ''])
@pytest.mark.parametrize('dis', [False, True])
def test_a_file_or_the_newest_in_a_folder_is_loaded_completely(donor, place, dis):
    lines, before, after = loaded(make(2), donor[1] / place, dis)
    folder = donor[1] / 'checkpoints'
    assert lines == [f'--init_from: the weights of {folder}/gen_00000010.pt',
                     f'--init_from_dis: the weights of {folder}/dis_00000010.pt'][:1 + dis]
    assert equal(donor[0].state_dict(), after, 'gen_')
    assert equal(donor[0].state_dict() if dis else before, after, 'dis_')


def test_discriminators_come_out_of_the_same_file_too(donor, tmp_path):
    torch.save({'state_dict': donor[0].state_dict()}, tmp_path / 'last.ckpt')
    lines, _, after = loaded(make(2), tmp_path / 'last.ckpt', True)
    assert equal(donor[0].state_dict(), after, 'gen_') and equal(donor[0].state_dict(), after, 'dis_')
    assert [line.split(':')[0] for line in lines] == ['--init_from', '--init_from_dis']


def test_matching_weights_are_loaded_and_the_others_are_reported(donor):
    lines, before, after = loaded(make(2, gen={'style_dim': 4}, dis={'n_layer': 3}), donor[1], True, True)
    theirs = donor[0].state_dict()
    fitting = {key for key, value in after.items() if key in theirs and theirs[key].shape == value.shape}
    assert all(torch.equal(after[key], (theirs if key in fitting else before)[key]) for key in after)
    gens = [key for key in after if key.startswith('gen_a.')]
    taken = sum(key in fitting for key in gens)
    assert taken == len(gens) - 3
    file = donor[1] / 'checkpoints/gen_00000010.pt'
    assert lines[0] == (
        f'--init_from {file}: {taken} of the {len(gens)} tensors of network a fit and were taken; not '
        'enc_style.model.6.weight (8×64×1×1 in the file, 4×64×1×1 here), '
        'enc_style.model.6.bias (8 in the file, 4 here), mlp.model.0.fc.weight (8×8 in the file, 8×4 here)'.replace(
            '64', str(after['gen_a.enc_style.model.6.weight'].shape[1])))
    assert len(lines) == 4 and lines[2].startswith(f'--init_from_dis {donor[1]}/checkpoints/dis_00000010.pt: ')
    assert '(not in the file)' in lines[2]


def test_a_single_network_is_loaded_if_it_names_its_domain(donor, tmp_path):
    torch.save({f'gen_b.module.{key}': value for key, value in donor[0].gen_b.state_dict().items()}, tmp_path / 'x.pt')
    lines, before, after = loaded(make(2), tmp_path / 'x.pt', False, True)
    assert equal(donor[0].state_dict(), after, 'gen_b') and equal(before, after, 'gen_a')
    assert lines[0].endswith('tensors of network a fit and were taken: it is not in the file')


def test_with_more_residual_blocks_the_other_weights_are_loaded(donor, tmp_path):
    lines, _, after = loaded(make(2, gen={'n_res': 2}), donor[1], False, True)
    assert torch.equal(after['gen_a.enc_content.model.0.conv.weight'],
                       donor[0].state_dict()['gen_a.enc_content.model.0.conv.weight'])
    assert '(not in the file)' in lines[0] and ' more' in lines[0]


@pytest.mark.parametrize('make_content, partial, dis, words', [
    (lambda trainer: {'x': torch.zeros(2)}, True, False,
     "holds 1 tensor, 'x'; nothing in it fits a generator"),
    (lambda trainer: trainer.gen_a.state_dict(), True, False,
     'holds a generator of MUNIT that names no domain; nothing'),
    (lambda trainer: {k: {'a': trainer.gen_a.state_dict()} for k in 'xy'}, True, False,
     "holds 2 networks 'a', under 'x.a', 'y.a'; give a file with one of them"),
    (lambda trainer: {name: {'enc_style.model.6.bias': torch.full((8,), torch.nan)} for name in 'ab'}, True, False,
     'of network a, 8 numbers are NaN or infinite'),
    (lambda trainer: {name: {'enc_style.model.6.bias': torch.zeros(3)} for name in 'ab'}, True, False, 'nothing in it'),
    (lambda trainer: {name: gen.state_dict() for name, gen in trainer.gens.items()}, False, True,
     '--init_from_dis: {path}: there is no dis_x.pt beside it, and no discriminators in it; leave --init_from_dis out'),
    (lambda trainer: trainer.gen_a.state_dict(), False, False, 'a generator of MUNIT that names no domain; wanted')])
def test_an_unusable_checkpoint_is_reported_in_one_line(donor, tmp_path, make_content, partial, dis, words):
    path = tmp_path / 'gen_x.pt'
    torch.save(make_content(donor[0]), path)
    with pytest.raises(BadInput) as error:
        loaded(make(2), path, dis, partial)
    assert words.format(path=path) in str(error.value) and '\n' not in str(error.value)


def test_a_folder_without_one_is_refused(tmp_path):
    with pytest.raises(BadInput, match='no gen_XXXXXXXX.pt in it; .* has no checkpoints; models/ has'):
        loaded(make(2), tmp_path)


def test_a_file_that_is_missing_makes_no_folder(tmp_path, capsys):
    words = [f'--init_from={tmp_path / "x.pt"}', f'--output_path={tmp_path / "out"}']
    line = complaint(capsys, train_command.main, *words)
    assert line.startswith(f'--init_from {tmp_path}/x.pt: No such file or directory; {tmp_path} has no checkpoints')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('flag', ['--init_from_dis', '--init_from_partial'])
def test_init_flags_without_init_from_are_one_line(capsys, flag):
    assert complaint(capsys, train_command.main, flag) == (
        f'{flag}: requires --init_from; give --init_from, a gen_XXXXXXXX.pt')


def test_a_run_starts_from_what_fits_and_a_resumed_one_does_not(donor, tmp_path, capsys):
    for folder in ('trainA', 'trainB', 'testA', 'testB'):
        save_noise(tmp_path / folder / '0.png')
    config = config_with(gen={**SMALL['gen'], 'style_dim': 4}, dis=SMALL['dis'], data_root=str(tmp_path), max_iter=1,
                         lr=1e-12, weight_decay=0)
    (tmp_path / 'c.yaml').write_text(yaml.safe_dump(config))
    words = [f'--config={tmp_path / "c.yaml"}', f'--output_path={tmp_path}', '--device=cpu', f'--init_from={donor[1]}']
    assert 'the checkpoint has gen.style_dim 8, the config says 4' in complaint(capsys, train_command.main, *words)
    assert train_command.main([*words, '--init_from_partial', '--init_from_dis']) == 0
    assert capsys.readouterr().out.count('fit and were taken') == 4
    for kind in ('gen', 'dis'):
        found = torch.load(tmp_path / f'outputs/c/checkpoints/{kind}_00000001.pt', weights_only=True)
        for name, state in found.items():
            wanted = donor[0]._parts()[kind][name].state_dict()
            close = [torch.allclose(value, wanted[key], atol=1e-9) for key, value in state.items()
                     if value.shape == wanted[key].shape]
            assert len(close) >= len(state) - 3 and all(close)
    assert train_command.main([*words, '--init_from_partial', '--resume', '--max_iter=2']) == 0
    assert 'were taken' not in capsys.readouterr().out
