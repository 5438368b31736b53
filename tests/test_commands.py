"""train.py, test.py and test_batch.py as users call them, for a few iterations, and the errors that they report."""
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from parity import config_with
from PIL import Image

import test as test_command
import test_batch as test_batch_command
import train as train_command
from core.precision import set_precision
from core.tensorboard_log import scalars
from engine.cli import run_command

ROOT = Path(__file__).resolve().parents[1]
UNIT = {'recon_kl_w': 0.01, 'recon_kl_cyc_w': 0.01, 'recon_x_cyc_w': 10}


def start(command: str, *arguments, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, str(ROOT / command), *map(str, arguments)], cwd=ROOT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def call(command: str, *arguments) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command in a separate process."""
    process = start(command, *arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def complaint(capsys, main, *arguments) -> str:
    """The one line that a command, run in this process, puts on stderr before it exits with status 2."""
    with pytest.raises(SystemExit) as exit_info:
        run_command(lambda: main([str(argument) for argument in arguments]))
    lines = capsys.readouterr().err.splitlines()
    assert exit_info.value.code == 2
    assert len(lines) == 1, lines
    return lines[0]


def save_noise(path: Path, size=(64, 64), mode='RGB', seed=0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.RandomState(seed).randint(0, 256, (*size[::-1], len(mode)), dtype=np.uint8)
    Image.fromarray(values[..., 0] if len(mode) == 1 else values).save(path)


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    """A data set of a few images in each of trainA, trainB, testA, testB."""
    root = tmp_path_factory.mktemp('data')
    for i, folder in enumerate(('trainA', 'trainB', 'testA', 'testB')):
        for j in range(2 + i):
            save_noise(root / folder / f'{j}.png', seed=10 * i + j)
    return root


@pytest.fixture(scope='module')
def run(data, tmp_path_factory) -> dict:
    """A MUNIT and a UNIT that train.py has trained for four iterations."""
    folder = tmp_path_factory.mktemp('run')
    found = {'data': data, 'folder': folder}
    for trainer, changes in (('MUNIT', {}), ('UNIT', UNIT)):
        config = config_with(image_save_iter=2, image_display_iter=3, snapshot_save_iter=2, max_iter=4, num_workers=1,
                             data_root=str(data), display_size=3, gen={'n_res': 1}, **changes)
        path = folder / f'small_{trainer}.yaml'
        path.write_text('# my comment\n' + yaml.safe_dump(config))
        found[trainer] = path
        found[f'{trainer} result'] = call('train.py', '--config', path, '--trainer', trainer, '--output_path', folder,
                                          '--device', 'cpu', '--seed', 1)
        found[f'{trainer} checkpoint'] = folder / 'outputs' / path.stem / 'checkpoints' / 'gen_00000004.pt'
    return found


def translate_arguments(run, out, trainer='MUNIT', **changes):
    arguments = {'config': run[trainer], 'checkpoint': run[f'{trainer} checkpoint'], 'output_folder': out,
                 'trainer': trainer, 'device': 'cpu', **changes}
    return [f'--{key}={value}' for key, value in arguments.items()]


# -- train.py ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('trainer', ['MUNIT', 'UNIT'])
def test_training_finishes_and_writes_the_originals_files(run, trainer):
    status, out, err = run[f'{trainer} result']
    assert status == 0, err
    folder = run['folder'] / 'outputs' / f'small_{trainer}'
    pictures = {f'gen_{way}_{split}_{step:08d}.jpg' for way in ('a2b', 'b2a') for split in ('train', 'test')
                for step in (2, 4)} | {'gen_a2b_train_current.jpg', 'gen_b2a_train_current.jpg'}
    assert {path.name for path in (folder / 'images').iterdir()} == pictures
    assert {path.name for path in (folder / 'checkpoints').iterdir()} == {
        f'{kind}_{step:08d}.pt' for kind in ('gen', 'dis', 'state') for step in (2, 4)} | {'optimizer.pt'}
    page = (folder / 'index.html').read_text()
    assert all(f'images/{name}' in page for name in pictures)
    assert 'http-equiv="refresh"' not in page   # the run is over
    assert ('random style' in page) == (trainer == 'MUNIT')
    assert list((run['folder'] / 'logs' / f'small_{trainer}').glob('events.*'))


def test_training_says_what_it_found_and_how_long_it_takes(run):
    _, out, err = run['MUNIT result']
    assert 'trainA: 2 images, 64×64, channels 3 read as 3' in out
    assert 'trainB: 3 images' in out and 'testA: 4 images' in out and 'testB: 5 images' in out
    assert 's/it' in err and 'left' in err


def test_a_picture_of_training_has_a_row_for_each_kind_and_a_column_for_each_image(run):
    images = run['folder'] / 'outputs'
    for trainer, rows in (('MUNIT', 4), ('UNIT', 3)):
        with Image.open(images / f'small_{trainer}' / 'images' / 'gen_a2b_test_00000004.jpg') as picture:
            assert picture.size == (3 * 64, rows * 64)


def test_the_config_is_copied_with_its_comments_to_the_outputs(run):
    text = (run['folder'] / 'outputs' / 'small_MUNIT' / 'config.yaml').read_text()
    assert text == run['MUNIT'].read_text()


def test_tensorboard_has_every_loss_at_every_logged_step(run):
    folder = run['folder'] / 'logs' / 'small_MUNIT'
    logged = [(step, name) for step, name, _ in scalars(folder)]
    for name in ('loss_dis_total', 'loss_gen_total', 'loss_gen_recon_x_a', 'loss_gen_recon_s_b', 'loss_gen_adv_a'):
        assert [step for step, logged_name in logged if logged_name == name] == [1, 2, 3, 4], name
    assert next(folder.glob('events.*')).read_bytes().count(b'gen_a2b_test') == 2


def test_a_checkpoint_is_a_dict_of_state_dicts_under_a_and_b(run):
    content = torch.load(run['MUNIT checkpoint'], weights_only=True)
    assert list(content) == ['a', 'b']
    assert content['a']['enc_style.model.0.conv.weight'].shape == (8, 3, 7, 7)


@pytest.mark.slow
def test_a_run_resumes_where_it_ended_and_takes_the_command_lines_values(run, tmp_path):
    status, out, err = call('train.py', '--config', run['MUNIT'], '--output_path', run['folder'], '--device', 'cpu',
                            '--resume', '--max_iter', 5)
    assert status == 0, err
    assert 'step 4' in out and 'iterations 4 to 5' in out
    folder = run['folder'] / 'outputs' / 'small_MUNIT'
    assert (folder / 'checkpoints' / 'gen_00000005.pt').exists()
    kept = yaml.safe_load((folder / 'config.yaml').read_text())
    assert kept == {**yaml.safe_load(run['MUNIT'].read_text()), 'max_iter': 5}


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('num_workers', [0, 1])
@pytest.mark.slow
def test_a_signal_to_all_processes_saves_the_run_and_prints_the_command_to_resume(data, tmp_path, number, num_workers):
    config = config_with(max_iter=100000, data_root=str(data), gen={'n_res': 1}, num_workers=num_workers,
                         snapshot_save_iter=1000, image_display_iter=1)
    path = tmp_path / 'a long name' / 'long.yaml'
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(config))
    process = start('train.py', '--config', path, '--output_path', tmp_path, '--device', 'cpu', start_new_session=True)
    picture = tmp_path / 'outputs/long/images/gen_b2a_train_current.jpg'
    deadline = time.time() + 120
    while not picture.exists() and process.poll() is None and time.time() < deadline:
        time.sleep(0.2)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    step = int(re.search(r'after step (\d+)', out)[1])
    assert (tmp_path / f'outputs/long/checkpoints/gen_{step:08d}.pt').exists()
    assert f"python train.py --config '{path}' --output_path {tmp_path} --device cpu --resume" in out


@pytest.mark.slow
def test_training_skips_and_reports_a_broken_file(run, data, tmp_path):
    root = tmp_path / 'data'
    for folder in ('trainA', 'trainB', 'testA', 'testB'):
        for path in (data / folder).iterdir():
            save_noise(root / folder / path.name)
    (root / 'trainA' / 'broken.jpg').write_bytes((root / 'trainA' / '0.png').read_bytes()[:300])
    status, _, err = call('train.py', '--config', run['MUNIT'], '--output_path', tmp_path, '--data_root', root,
                          '--device', 'cpu', '--max_iter', 3)
    assert status == 0, err
    assert 'broken.jpg' in err and 'Traceback' not in err


@pytest.mark.slow
def test_training_on_a_white_image_continues(run, tmp_path):
    for folder in ('trainA', 'trainB', 'testA', 'testB'):
        (tmp_path / 'data' / folder).mkdir(parents=True)
        Image.new('RGB', (64, 64), 'white').save(tmp_path / 'data' / folder / 'white.png')
    status, _, err = call('train.py', '--config', run['MUNIT'], '--output_path', tmp_path,
                          '--data_root', tmp_path / 'data', '--device', 'cpu', '--max_iter', 3)
    assert status == 0, err
    content = torch.load(tmp_path / 'outputs/small_MUNIT/checkpoints/gen_00000003.pt', weights_only=True)
    assert all(value.isfinite().all() for state in content.values() for value in state.values())


@pytest.mark.slow
def test_grey_to_colour_trains_and_translates(run, data, tmp_path, capsys):
    config = {**yaml.safe_load(run['MUNIT'].read_text()), 'input_dim_a': 1, 'max_iter': 2}
    path = tmp_path / 'grey.yaml'
    path.write_text(yaml.safe_dump(config))
    status, out, err = call('train.py', '--config', path, '--output_path', tmp_path, '--device', 'cpu')
    assert status == 0, err
    assert 'channels 3 read as 1' in out
    for a2b, mode in ((1, 'RGB'), (0, 'L')):
        test_command.main(['--config', str(path), '--a2b', str(a2b), '--input', str(data / 'testA' / '0.png'),
                           '--output_folder', str(tmp_path / mode), '--num_style', '1', '--device', 'cpu',
                           '--checkpoint', str(tmp_path / 'outputs/grey/checkpoints/gen_00000002.pt')])
        with Image.open(tmp_path / mode / 'output000.jpg') as output:
            assert output.mode == mode


def test_all_faults_of_a_config_are_reported_at_once_before_anything_is_written(tmp_path, capsys):
    path = tmp_path / 'faulty.yaml'
    path.write_text(yaml.safe_dump(config_with(lr='fast', batch_size=0, data_root=str(tmp_path / 'none'), recon_w=1)))
    with pytest.raises(SystemExit) as exit_info:
        run_command(lambda: train_command.main(['--config', str(path), '--output_path', str(tmp_path / 'out')]))
    lines = capsys.readouterr().err.splitlines()
    assert exit_info.value.code == 2
    for words in ('lr:', 'batch_size:', 'recon_w: unknown key', 'data_root:'):
        assert sum(words in line for line in lines) >= 1, words
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('arguments, words', [
    (['--config', 'none.yaml'], 'none.yaml'),
    ([], 'datasets/edges2handbags'),
    (['--config', 'x.yaml', '--trainer', 'CUT'], '--trainer'),
    (['--config', 'x.yaml', '--max_iter', '0'], '--max_iter'),
    (['--config', 'x.yaml', '--seed', '-1'], '--seed'),
    (['--config', 'x.yaml', '--device', 'tpu'], '--device tpu'),
    (['--config', 'x.yaml', '--device', 'cuda:99'], '--device cuda:99'),
    (['--config', 'x.yaml', '--speed', '9'], '--speed'),
])
def test_train_refuses_in_one_line(capsys, arguments, words):
    assert words in complaint(capsys, train_command.main, *arguments)


def test_training_with_vgg_but_no_weights_says_what_to_put_where(run, tmp_path, capsys):
    path = tmp_path / 'vgg.yaml'
    path.write_text(yaml.safe_dump({**yaml.safe_load(run['MUNIT'].read_text()), 'vgg_w': 1}))
    line = complaint(capsys, train_command.main, '--config', path, '--output_path', tmp_path)
    assert 'models/none.weight' in line and 'vgg_w: 0' in line


def test_an_output_path_that_is_a_file_is_refused(run, tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    assert '--output_path' in complaint(capsys, train_command.main, '--config', run['MUNIT'],
                                        '--output_path', tmp_path / 'file')


# -- test.py ----------------------------------------------------------------------------------------------------------

def test_translating_writes_the_styles_and_the_input(run, tmp_path):
    save_noise(tmp_path / 'in.png')
    status, _, err = call('test.py', *translate_arguments(run, tmp_path / 'out', input=tmp_path / 'in.png',
                                                          num_style=3))
    assert status == 0, err
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
        'input.jpg', 'output000.jpg', 'output001.jpg', 'output002.jpg']


def test_output_only_leaves_the_input_out(run, tmp_path):
    save_noise(tmp_path / 'in.png')
    test_command.main([*translate_arguments(run, tmp_path / 'out', input=tmp_path / 'in.png', num_style=1),
                       '--output_only'])
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['output000.jpg']


@pytest.mark.parametrize('a2b', [0, 1])
def test_a_guided_translation_has_the_style_of_the_target_domains_encoder(run, tmp_path, a2b):
    save_noise(tmp_path / 'in.png', seed=1)
    save_noise(tmp_path / 'style.png', seed=2)
    test_command.main(translate_arguments(run, tmp_path / 'out', input=tmp_path / 'in.png', a2b=a2b,
                                          style=tmp_path / 'style.png'))
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['input.jpg', 'output000.jpg']

    from networks import AdaINGen
    config = yaml.safe_load(run['MUNIT'].read_text())
    gens = {name: AdaINGen(3, config['gen']) for name in 'ab'}
    for name, state in torch.load(run['MUNIT checkpoint'], weights_only=True).items():
        gens[name].load_state_dict(state)
    source, target = (gens['a'], gens['b']) if a2b else (gens['b'], gens['a'])
    x, style = (torch.from_numpy(np.array(Image.open(tmp_path / name))).permute(2, 0, 1)[None] / 127.5 - 1
                for name in ('in.png', 'style.png'))
    with torch.no_grad():
        wanted = target.decode(source.encode(x)[0], target.encode(style)[1])[0]
        wrong = target.decode(source.encode(x)[0], source.encode(style)[1])[0]
    found = torch.from_numpy(np.array(Image.open(tmp_path / 'out' / 'output000.jpg'))).permute(2, 0, 1) / 127.5 - 1
    assert (found - wanted).abs().mean() < 0.5 * (found - wrong).abs().mean()   # JPEG causes the rest


def test_a_seed_means_the_same_styles(run, tmp_path):
    save_noise(tmp_path / 'in.png')
    for name, seed in (('one', 3), ('two', 3), ('three', 4)):
        test_command.main(translate_arguments(run, tmp_path / name, input=tmp_path / 'in.png', seed=seed, num_style=2))
    one, two, three = ((tmp_path / name / 'output001.jpg').read_bytes() for name in ('one', 'two', 'three'))
    assert one == two != three


@pytest.mark.parametrize('size', [(64, 64), (50, 33), (127, 64), (9, 3), (1, 1)])
def test_outputs_have_the_size_of_their_inputs(run, tmp_path, size):
    save_noise(tmp_path / 'in.png', size)
    test_command.main(translate_arguments(run, tmp_path / 'out', input=tmp_path / 'in.png', new_size=0, num_style=1))
    with Image.open(tmp_path / 'out' / 'output000.jpg') as output:
        assert output.size == size


def test_the_configs_new_size_is_the_shorter_side_by_default(run, tmp_path):
    save_noise(tmp_path / 'in.png', (80, 40))
    for new_size, wanted in ((None, (128, 64)), (32, (64, 32))):
        changes = {} if new_size is None else {'new_size': new_size}
        test_command.main(translate_arguments(run, tmp_path / 'out', input=tmp_path / 'in.png', num_style=1, **changes))
        with Image.open(tmp_path / 'out' / 'output000.jpg') as output:
            assert output.size == wanted


def test_an_example_is_resized_as_the_input_is(run, tmp_path):
    """As in the original, where the config gives each domain a size of its own."""
    config = yaml.safe_load(Path(run['MUNIT']).read_text())
    del config['new_size']
    for name, picture in (('in', (64, 64)), ('example', (80, 96))):
        save_noise(tmp_path / f'{name}.png', picture)
    outputs = []
    for size in (96, 80, 64):
        (tmp_path / 'sizes.yaml').write_text(yaml.safe_dump({**config, 'new_size_a': 64, 'new_size_b': size}))
        test_command.main(translate_arguments(run, tmp_path / 'out', config=tmp_path / 'sizes.yaml',
                                              input=tmp_path / 'in.png', style=tmp_path / 'example.png'))
        outputs.append((tmp_path / 'out' / 'output000.jpg').read_bytes())
    assert outputs[0] == outputs[1] == outputs[2]


def test_normalize_stretches_to_the_full_range(run, tmp_path):
    save_noise(tmp_path / 'in.png')
    ranges = []
    for flags in ([], ['--normalize']):
        test_command.main([*translate_arguments(run, tmp_path / 'out', input=tmp_path / 'in.png', num_style=1),
                           '--format=png', *flags])
        values = np.array(Image.open(tmp_path / 'out' / 'output000.png'))
        ranges.append(int(values.max()) - int(values.min()))
    assert ranges[0] < 255 == ranges[1]


def test_unit_writes_one_output(run, tmp_path):
    save_noise(tmp_path / 'in.png')
    test_command.main(translate_arguments(run, tmp_path / 'out', 'UNIT', input=tmp_path / 'in.png'))
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['input.jpg', 'output.jpg']


@pytest.mark.parametrize('changes, words', [
    ({'input': 'none.png'}, 'none.png'),
    ({'style': 'none.png'}, 'none.png'),
    ({'checkpoint': 'none.pt'}, '--checkpoint none.pt'),
    ({'config': 'none.yaml'}, 'none.yaml'),
    ({'a2b': 2}, '--a2b'),
    ({'num_style': 0}, '--num_style'),
    ({'new_size': -1}, '--new_size'),
    ({'device': 'cuda:99'}, '--device cuda:99'),
    ({'output_folder': __file__}, '--output_folder'),
])
def test_translating_refuses_in_one_line_and_writes_nothing(run, tmp_path, capsys, changes, words):
    save_noise(tmp_path / 'in.png')
    arguments = translate_arguments(run, tmp_path / 'out', **{'input': tmp_path / 'in.png', **changes})
    assert words in complaint(capsys, test_command.main, *arguments)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('name, words', [
    ('optimizer.pt', 'optimizer state; use gen_XXXXXXXX.pt'),
    ('dis_00000004.pt', 'discriminator; use gen_XXXXXXXX.pt')])
def test_another_file_of_a_run_is_refused_with_the_one_to_use(run, tmp_path, capsys, name, words):
    save_noise(tmp_path / 'in.png')
    checkpoint = run['MUNIT checkpoint'].with_name(name)
    arguments = translate_arguments(run, tmp_path / 'out', input=tmp_path / 'in.png', checkpoint=checkpoint)
    assert words in complaint(capsys, test_command.main, *arguments)


def test_a_unit_checkpoint_says_that_it_is_one(run, tmp_path, capsys):
    save_noise(tmp_path / 'in.png')
    arguments = translate_arguments(run, tmp_path / 'out', input=tmp_path / 'in.png', checkpoint=run['UNIT checkpoint'])
    assert '--trainer UNIT' in complaint(capsys, test_command.main, *arguments)


def test_a_style_for_unit_is_refused(run, tmp_path, capsys):
    save_noise(tmp_path / 'in.png')
    arguments = translate_arguments(run, tmp_path / 'out', 'UNIT', input=tmp_path / 'in.png', style=tmp_path / 'in.png')
    assert 'UNIT has no styles' in complaint(capsys, test_command.main, *arguments)


# -- test_batch.py ----------------------------------------------------------------------------------------------------

@pytest.fixture
def mixed_folder(tmp_path) -> Path:
    """Images of mixed sizes, modes and formats, in a tree."""
    folder = tmp_path / 'mixed'
    save_noise(folder / 'a.png', (40, 70))
    save_noise(folder / 'b.JPG', (64, 64))
    save_noise(folder / 'sub' / 'c.webp', (100, 51))
    save_noise(folder / 'd.png', (30, 30), 'RGBA')
    save_noise(folder / 'e.png', (64, 64), 'L')
    Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16).save(folder / 'f.png')
    save_noise(folder / 'g.tif', (64, 64))
    save_noise(folder / 'h.ppm', (64, 64))
    return folder


def test_a_folder_is_translated_into_one_folder_a_style_under_the_inputs_names(run, tmp_path, mixed_folder):
    status, out, err = call('test_batch.py', *translate_arguments(run, tmp_path / 'out', input_folder=mixed_folder,
                                                                  num_style=2))
    assert status == 0, err
    names = ['a.png', 'b.JPG', 'c.webp', 'd.png', 'e.png', 'f.png', 'g.tif', 'h.ppm']
    for j in range(2):
        assert sorted(path.name for path in (tmp_path / f'out_{j:02d}').iterdir()) == names
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [f'input{i:03d}.jpg' for i in range(8)]


def test_a_batch_keeps_sizes_on_request(run, tmp_path, mixed_folder):
    test_batch_command.main(translate_arguments(run, tmp_path / 'out', input_folder=mixed_folder, num_style=1,
                                                new_size=0))
    for name, size in (('a.png', (40, 70)), ('c.webp', (100, 51)), ('d.png', (30, 30))):
        with Image.open(tmp_path / 'out_00' / name) as output:
            assert output.size == size


def test_a_broken_file_in_a_batch_is_named_and_the_others_are_translated(run, tmp_path, mixed_folder, capsys):
    (mixed_folder / 'broken.png').write_bytes((mixed_folder / 'a.png').read_bytes()[:500])
    status = test_batch_command.main(translate_arguments(run, tmp_path / 'out', input_folder=mixed_folder, num_style=1))
    err = capsys.readouterr().err
    assert status == 2
    assert 'broken.png' in err and '1 of 9' in err and 'Traceback' not in err
    assert len(list((tmp_path / 'out_00').iterdir())) == 8


@pytest.mark.parametrize('synchronized', [True, False])
def test_synchronized_means_the_same_styles_for_every_input(run, tmp_path, synchronized):
    for name in ('one.png', 'two.png'):
        save_noise(tmp_path / 'in' / name)
    flags = ['--synchronized'] if synchronized else []
    test_batch_command.main([*translate_arguments(run, tmp_path / 'out', input_folder=tmp_path / 'in', num_style=1),
                             *flags])
    one, two = ((tmp_path / 'out_00' / name).read_bytes() for name in ('one.png', 'two.png'))
    assert (one == two) == synchronized


def test_a_batch_without_inputs_writes_outputs_only(run, tmp_path):
    save_noise(tmp_path / 'in' / 'one.png')
    test_batch_command.main([*translate_arguments(run, tmp_path / 'out', input_folder=tmp_path / 'in', num_style=1),
                             '--output_only'])
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in', 'out_00']


def test_a_batch_of_unit_goes_to_the_output_folder_itself(run, tmp_path):
    save_noise(tmp_path / 'in' / 'one.png')
    test_batch_command.main([*translate_arguments(run, tmp_path / 'out', 'UNIT', input_folder=tmp_path / 'in'),
                             '--output_only'])
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['one.png']


def test_two_inputs_of_one_name_are_refused(run, tmp_path, capsys):
    save_noise(tmp_path / 'in' / 'x' / 'one.png')
    save_noise(tmp_path / 'in' / 'y' / 'one.png')
    arguments = translate_arguments(run, tmp_path / 'out', input_folder=tmp_path / 'in')
    assert 'one.png' in complaint(capsys, test_batch_command.main, *arguments)


@pytest.mark.parametrize('flag, a2b', [('--inception_b', 1), ('--inception_a', 0)])
def test_scores_ask_for_the_target_domains_classifier(run, tmp_path, capsys, flag, a2b):
    save_noise(tmp_path / 'in' / 'one.png')
    arguments = translate_arguments(run, tmp_path / 'out', input_folder=tmp_path / 'in', a2b=a2b)
    assert flag in complaint(capsys, test_batch_command.main, *arguments, '--compute_CIS')


def test_both_scores_are_printed(run, tmp_path, capsys):
    from torchvision.models import inception_v3
    torch.save(inception_v3(weights=None, init_weights=False, num_classes=3).state_dict(), tmp_path / 'inception.pt')
    save_noise(tmp_path / 'in' / 'one.png')
    test_batch_command.main([*translate_arguments(run, tmp_path / 'out', input_folder=tmp_path / 'in', num_style=2,
                                                  inception_b=tmp_path / 'inception.pt'),
                             '--compute_IS', '--compute_CIS'])
    printed = capsys.readouterr().out
    scores = dict(re.findall(r'^(.*Inception Score): (.*)$', printed, re.M))
    assert set(scores) == {'Inception Score', 'Conditional Inception Score'}
    # With a single input, both scores use the same mean.
    assert float(scores['Inception Score']) == pytest.approx(float(scores['Conditional Inception Score']))
    assert float(scores['Inception Score']) >= 1
    without_exponent = [float(text) for text in re.findall(r'without exponent: (.*)$', printed, re.M)]
    wanted = [math.log(float(score)) for score in scores.values()]
    assert without_exponent == pytest.approx(wanted, abs=1e-6) and len(without_exponent) == 2


def images_in(folder: Path) -> dict[str, np.ndarray]:
    """The pixels of the pictures in a folder and its subfolders, as signed integers."""
    return {path.name: np.array(Image.open(path)).astype(int) for path in sorted(folder.rglob('*')) if path.is_file()}


def old_way(run, tmp_path, folder: Path, num_style: int, normalize: bool) -> dict[str, bytes]:
    """The bytes of the files that test_batch.py wrote before it had batches: one image at a time, seed 1."""
    from data import Transform, read_image
    from networks import AdaINGen
    gens = {name: AdaINGen(3, yaml.safe_load(run['MUNIT'].read_text())['gen']).eval() for name in 'ab'}
    for name, state in torch.load(run['MUNIT checkpoint'], weights_only=True).items():
        gens[name].load_state_dict(state)
    torch.manual_seed(1)
    written = {}
    for path in sorted(folder.iterdir()):
        styles = torch.randn(num_style, 8, 1, 1)
        with torch.inference_mode():
            content = gens['a'].enc_content(Transform(64)(read_image(path, 3))[None])
            outputs = gens['b'].decode(content.expand(num_style, -1, -1, -1), styles)
        for j, output in enumerate(outputs):
            low, high = (output.min(), output.max()) if normalize else (-1, 1)
            picture = ((output - low) / (high - low)).clamp(0, 1)
            array = picture.mul(255).add(0.5).clamp(0, 255).byte().permute(1, 2, 0).numpy()
            Image.fromarray(array).save(tmp_path / path.name, quality=95, subsampling=0)
            written[f'{j:02d}/{path.name}'] = (tmp_path / path.name).read_bytes()
    return written


@pytest.mark.parametrize('normalize', [False, True])
@pytest.mark.parametrize('num_workers', [0, 2])
def test_outputs_one_by_one_are_byte_identical_to_earlier_versions(run, tmp_path, num_workers, normalize):
    for i in range(4):
        save_noise(tmp_path / 'in' / f'{i}.jpg', seed=i)
    test_batch_command.main([
        *translate_arguments(run, tmp_path / 'out', input_folder=tmp_path / 'in', num_style=3, batch_size=1,
                             num_workers=num_workers), *(['--normalize'] if normalize else [])])
    wanted = old_way(run, tmp_path, tmp_path / 'in', 3, normalize)
    assert {f'{path.parent.name[-2:]}/{path.name}': path.read_bytes()
            for path in tmp_path.glob('out_*/*')} == wanted
    inputs = [Image.open(tmp_path / 'out' / f'input{i:03d}.jpg') for i in range(4)]
    assert all(image.size == (64, 64) for image in inputs)


@pytest.mark.parametrize('flags', [[], ['--normalize'], ['--synchronized']])
def test_batches_of_mixed_sizes_equal_translation_one_by_one(run, tmp_path, flags):
    for i, size in enumerate([(64, 64), (40, 30), (64, 64), (50, 33), (64, 64), (40, 30), (64, 64), (7, 90)]):
        save_noise(tmp_path / 'in' / f'{i}.png', size, seed=i)
    for name, batch_size in (('one', 1), ('many', 3)):
        test_batch_command.main([*translate_arguments(run, tmp_path / name, input_folder=tmp_path / 'in', num_style=2,
                                                      new_size=0, batch_size=batch_size), *flags])
    for folder in ('one', 'one_00', 'one_01'):
        one, many = images_in(tmp_path / folder), images_in(tmp_path / folder.replace('one', 'many'))
        assert one.keys() == many.keys() and len(one) == 8
        assert all(np.abs(one[key] - many[key]).max() <= 1 for key in one)   # of 255: rounding to another level
    assert np.abs(images_in(tmp_path / 'one_00')['0.png'] - images_in(tmp_path / 'one_01')['0.png']).max() > 1


def test_batches_contain_one_size_and_are_limited():
    def image(position: int, side: int):
        return test_batch_command.Input(position, Path(), None, torch.empty(3, side, side))

    def batches(sides: list[int], batch_size: int) -> list[list[int]]:
        inputs = [image(i, side) for i, side in enumerate(sides)]
        return [[one.position for one in batch] for batch in test_batch_command.batches(inputs, batch_size)]

    assert batches([64, 32, 64, 32, 64], 2) == [[0, 2], [1, 3], [4]]
    assert batches([512, 512, 512], 8) == [[0, 1], [2]]        # 8 of 256×256 have the pixels of 2 of these
    assert batches([2048], 8) == [[0]]
    assert batches([10, 11, 11, 12, 13, 14, 15, 16, 17], 2) == [[1, 2], [0], [3], [4], [5], [6], [7], [8]]
    asked, seen = iter([image(i, 10 + i) for i in range(20)]), []
    held = test_batch_command.batches((seen.append(one) or one for one in asked), 2)
    assert len(next(held)) == 1 and len(seen) == 8             # four batches, and no more


def test_a_broken_file_leaves_the_styles_and_the_numbers_of_the_others(run, tmp_path):
    for name in ('whole', 'broken'):
        for i in range(4):
            save_noise(tmp_path / name / f'{i}.png', seed=i)
    (tmp_path / 'broken' / '1.png').write_bytes(b'no image')
    for name in ('whole', 'broken'):
        status = test_batch_command.main(translate_arguments(run, tmp_path / f'out {name}', num_style=2, batch_size=1,
                                                             input_folder=tmp_path / name))
        assert status == (2 if name == 'broken' else 0)
    for folder, broken in (('', 'input001.jpg'), ('_00', '1.png'), ('_01', '1.png')):
        whole, other = (images_in(tmp_path / f'out {name}{folder}') for name in ('whole', 'broken'))
        assert other.keys() == whole.keys() - {broken}
        assert all((other[key] == whole[key]).all() for key in other)


@pytest.mark.parametrize('num_workers', [0, 2])
@pytest.mark.parametrize('obstacle, words', [('folder', 'Is a directory'), ('full disk', 'No space left on device')])
def test_an_output_that_cannot_be_written_ends_a_batch_in_one_line(run, tmp_path, capsys, num_workers, obstacle, words):
    for i in range(3):
        save_noise(tmp_path / 'in' / f'{i}.png', seed=i)
    place = tmp_path / 'out_00' / '1.png'
    place.parent.mkdir()
    if obstacle == 'folder':
        place.mkdir()
    elif os.path.exists('/dev/full'):
        place.symlink_to('/dev/full')
    else:
        pytest.skip('no device that is always full')
    arguments = translate_arguments(run, tmp_path / 'out', input_folder=tmp_path / 'in', num_style=1, batch_size=1,
                                    num_workers=num_workers)
    assert complaint(capsys, test_batch_command.main, *arguments) == f'{place}: cannot be written ({words})'


def test_a_translation_that_cannot_be_written_is_one_line(run, tmp_path, capsys):
    save_noise(tmp_path / 'in.png')
    (tmp_path / 'out' / 'output000.jpg').mkdir(parents=True)
    arguments = translate_arguments(run, tmp_path / 'out', input=tmp_path / 'in.png')
    assert 'output000.jpg: cannot be written (Is a directory)' in complaint(capsys, test_command.main, *arguments)


@pytest.mark.slow
def test_ctrl_c_ends_a_batch_at_once(run, tmp_path):
    save_noise(tmp_path / 'in' / '0.png', (400, 400))
    for i in range(1, 400):   # enough that the signal arrives before the last one, however slow this process is
        os.link(tmp_path / 'in' / '0.png', tmp_path / 'in' / f'{i}.png')
    arguments = translate_arguments(run, tmp_path / 'out', input_folder=tmp_path / 'in', num_style=4, new_size=0,
                                    batch_size=2)
    process = start('test_batch.py', *arguments, start_new_session=True)
    deadline = time.time() + 60
    while not list(tmp_path.glob('out_00/*')) and process.poll() is None and time.time() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert 'Traceback' not in err and 'translated' not in out
    assert len(list(tmp_path.glob('out_00/*'))) < 400
    for path in tmp_path.glob('out_*/*.png'):   # existing files are complete
        Image.open(path).load()


@pytest.mark.parametrize('precision', ['fp32', 'tf32', 'bf16'])
def test_both_commands_accept_precision(run, tmp_path, precision):
    save_noise(tmp_path / 'in' / 'one.png')
    try:
        test_batch_command.main(translate_arguments(run, tmp_path / 'out', input_folder=tmp_path / 'in', num_style=1,
                                                    precision=precision))
        test_command.main(translate_arguments(run, tmp_path / 'single', input=tmp_path / 'in' / 'one.png', num_style=1,
                                              precision=precision))
        rounded = precision != 'fp32'
        assert torch.backends.cudnn.allow_tf32 == rounded
        assert torch.get_float32_matmul_precision() == ('high' if rounded else 'highest')
    finally:
        set_precision('fp32')
    found = images_in(tmp_path / 'out_00')['one.png']
    test_batch_command.main(translate_arguments(run, tmp_path / 'out', input_folder=tmp_path / 'in', num_style=1))
    difference = np.abs(found - images_in(tmp_path / 'out_00')['one.png'])
    assert difference.mean() < 4 and (difference.max() > 0) == (precision == 'bf16')   # a CPU has no tf32


@pytest.mark.parametrize('changes, words', [
    ({'batch_size': 0}, '--batch_size'), ({'num_workers': -1}, '--num_workers'), ({'precision': 'fp8'}, '--precision')])
def test_a_batch_refuses_in_one_line_and_writes_nothing(run, tmp_path, capsys, changes, words):
    save_noise(tmp_path / 'in' / 'one.png')
    arguments = translate_arguments(run, tmp_path / 'out', input_folder=tmp_path / 'in', **changes)
    assert words in complaint(capsys, test_batch_command.main, *arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in']


@pytest.mark.slow
def test_scores_do_not_depend_on_the_batches(run, tmp_path, capsys):
    from torchvision.models import inception_v3
    torch.manual_seed(0)
    torch.save(inception_v3(weights=None, init_weights=False, num_classes=3).state_dict(), tmp_path / 'inception.pt')
    for i in range(3):
        save_noise(tmp_path / 'in' / f'{i}.png', (64, 64) if i else (64, 80), seed=i)
    found = []
    for batch_size in (1, 2):
        test_batch_command.main([
            *translate_arguments(run, tmp_path / 'out', input_folder=tmp_path / 'in', num_style=2,
                                 batch_size=batch_size, inception_b=tmp_path / 'inception.pt'),
            '--compute_IS', '--compute_CIS', '--output_only'])
        found.append([float(text) for text in re.findall(r'Inception Score: (.*)$', capsys.readouterr().out, re.M)])
    assert len(found[0]) == 2 and found[1] == pytest.approx(found[0], rel=1e-4)


@pytest.mark.parametrize('folder', ['none', 'empty'])
def test_a_batch_without_images_is_refused(run, tmp_path, capsys, folder):
    (tmp_path / 'empty').mkdir()
    arguments = translate_arguments(run, tmp_path / 'out', input_folder=tmp_path / folder)
    assert folder in complaint(capsys, test_batch_command.main, *arguments)
    assert not (tmp_path / 'out').exists()


@pytest.mark.slow
def test_an_error_in_mid_run_ends_it_and_its_loader_workers(run, tmp_path):
    program = ('import sys, train, trainer\n'
               'from core.errors import BadInput\n'
               'from engine.cli import run_command\n'
               'def fail(*_): raise BadInput("the disk is on fire")\n'
               'trainer.MUNIT_Trainer.update = fail\n'
               'run_command(train.main)\n')
    process = subprocess.Popen([sys.executable, '-c', program, '--config', run['MUNIT'], '--output_path', tmp_path,
                                '--device', 'cpu'], cwd=ROOT, text=True, stderr=subprocess.PIPE)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and err.splitlines()[-1] == 'the disk is on fire'
