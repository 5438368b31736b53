"""Messages about users' mistakes: one line that names the flag or key, the value, and what is allowed or what to do."""
import contextlib
import re
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from PIL import Image
from tiny import make_model

from engine.cli import run_command

# After the flag or key: what is allowed, what was found, or what to do.
ADVICE = re.compile(r'not one of|at least|at most|more than|choose|give |take |use |name |leave |lower |set |install|'
                    r'needs?\b|'
                    r'has \d+|wants?|should|must|required|did you mean|multiple of|missing|no such f|not a file but|'
                    r'Is a directory|holds no images|cannot be read as|end the name|download|translates|see .* --help|'
                    r'whole number|is not a number|too few|writes it again|which has|; .* has |from \d|such as|put |'
                    r'is not (true or false|none)')


@pytest.fixture(scope='module')
def place(tmp_path_factory) -> Path:
    """A folder with a model and with files that no command can use; commands run in it."""
    place = tmp_path_factory.mktemp('place')
    make_model(place)
    data = ['data/trainA', 'data/trainB', 'data/testA', 'data/testB']
    for name in ('empty', 'one', 'broken', *data):
        (place / name).mkdir(parents=True)
    for folder in ('one', *data):
        Image.new('RGB', (64, 64)).save(place / folder / 'a.png')
    for name in ('text.png', 'text', 'broken/x.png'):
        (place / name).write_text('no image')
    return place


MODEL = '--config=config.yaml --checkpoint=gen.pt --device=cpu '
TEST = 'test', MODEL + '--output_folder=out '
BATCH = 'test_batch', MODEL + '--output_folder=out '
WALK = 'scripts.interpolate_styles', MODEL + '--output_folder=out '
STYLES = 'scripts.analyze_styles', MODEL + '--output_folder=out '
VIDEO = 'video', MODEL
CASES = [   # command and its valid flags; the invalid ones; the flag or key and the value that the message names
    (TEST, '--input nofile.png', '--input nofile.png'),
    (TEST, '--input text.png', '--input text.png'),
    (TEST, '--input one', '--input one'),
    (TEST, '--input in/0.png --style nofile.png', '--style nofile.png'),
    (TEST, '--input in/0.png --style empty', '--style empty'),
    (TEST, '--input in/0.png --style_code 1,2', '--style_code 1,2'),
    (TEST, '--input in/0.png --style_code nofile', '--style_code nofile'),
    (TEST, '--input in/0.png --num_style 0', "--num_style: '0'"),
    (TEST, '--input in/0.png --seed x', "--seed: 'x'"),
    (TEST, '--input in/0.png --a2b 2', '--a2b: invalid choice: 2'),
    (TEST, '--input in/0.png --output_folder text', '--output_folder text'),
    (TEST, '--input in/0.png --new_size -1', "--new_size: '-1'"),
    (TEST, '--input in/0.png --precision fp8', "--precision: invalid choice: 'fp8'"),
    (TEST, '--input in/0.png --device tpu', '--device tpu'),
    (TEST, '--input in/0.png --nonsense 1', '--nonsense 1'),
    (TEST, '--input in/0.png --config no.yaml', '--config no.yaml'),
    (TEST, '--input in/0.png --config text', '--config text'),
    (TEST, '--input in/0.png --config empty', '--config empty'),
    (TEST, '--input in/0.png --checkpoint no.pt', '--checkpoint no.pt'),
    (TEST, '--input in/0.png --checkpoint text', '--checkpoint text'),
    (TEST, '', '--input'),
    (BATCH, '--input_folder nofolder', '--input_folder nofolder'),
    (BATCH, '--input_folder empty', '--input_folder empty'),
    (BATCH, '--input_folder in/0.png', '--input_folder in/0.png'),
    (BATCH, '--input_folder one --compute_IS', '--inception_b'),
    (BATCH, '--input_folder one --output_folder text', '--output_folder text'),
    (BATCH, '--input_folder one --batch_size 0', "--batch_size: '0'"),
    (WALK, '--input in/0.png --interpolate 1 nofile.png', '--interpolate nofile.png'),
    (WALK, '--input no.png --grid 1', '--input no.png'),
    (WALK, '--input in/0.png --grid x', '--grid x'),
    (WALK, '--input in/0.png --interpolate 1 2 --steps 1', "--steps: '1'"),
    (STYLES, '--input in/0.png --style_folder nofolder', '--style_folder nofolder'),
    (STYLES, '--input in/0.png --style_folder one', '--style_folder one'),
    (STYLES, '--input no.png --style_folder in', '--input no.png'),
    (('scripts.draw_style_map', MODEL), '--style_folder one', '--style_folder one'),
    (('scripts.draw_style_map', MODEL), '--style_folder nofolder', '--style_folder nofolder'),
    (('scripts.draw_dirty_twin', ''), '--input nofolder --output o', '--input nofolder'),
    (('scripts.halve_checkpoint', ''), '--input no.pt --output o.pt', '--input no.pt'),
    (('scripts.export_onnx', MODEL.replace('--device=cpu', '')), '--format zip', "--format: invalid choice: 'zip'"),
    (('scripts.train_classifier', ''), '--data nofolder --output x.pt', '--data nofolder'),
    (('scripts.compare_runs', ''), 'nofolder other', 'nofolder'),
    (('scripts.rebuild_run_page', ''), 'nofolder', 'nofolder'),
    (('evaluate', MODEL), '--output_folder e', '--config config.yaml: data_root: nowhere'),
    (('evaluate', MODEL), '--output_folder e --data_root nofolder', '--data_root nofolder'),
    (('evaluate', MODEL), '--output_folder e --num_inputs 0', "--num_inputs: '0'"),
    (('extras.demo.server', ''), '--checkpoint no.pt', '--checkpoint no.pt'),
    (('extras.demo.server', ''), '--port 99999', "--port: '99999'"),
    (VIDEO, '--input no.mp4 --output o.mp4', '--input no.mp4'),
    (VIDEO, '--input in/0.png --output o.mp4', '--input in/0.png'),
    (VIDEO, '--input text --output o.mp4', '--input text'),
    (VIDEO, '--input one --output o.mp4', '--output o.mp4'),
]
KEYS = [   # a change of a valid config; the key and the value that the message names
    ({'data_root': 'nofolder'}, 'data_root: nofolder'),
    ({'lr': -1}, 'lr: -1'),
    ({'lr': 'x'}, "lr: 'x'"),
    ({'batch_size': 0}, 'batch_size: 0'),
    ({'batch_size': 1.5}, 'batch_size: 1.5'),
    ({'nonsense': 1}, 'nonsense'),
    ({'gen.activ': 'swish'}, "gen.activ: 'swish'"),
    ({'gen.dim': 0}, 'gen.dim: 0'),
    ({'dis.augment': 'flip'}, "dis.augment: 'flip'"),
    ({'dis.r1_w': -1}, 'dis.r1_w: -1'),
    ({'crop_image_height': 63}, 'crop_image_height: 63'),
    ({'new_size': 16}, 'crop_image_height: 64'),
    ({'vgg_w': 1}, 'vgg_weights: models/none.weight'),
    ({'input_dim_a': 0}, 'input_dim_a: 0'),
    ({'beta1': 1}, 'beta1: 1'),
    ({'lr_policy': 'cosine'}, "lr_policy: 'cosine'"),
    ({'precision': 'fp16'}, "precision: 'fp16'"),
    ({'flip': 'maybe'}, "flip: 'maybe'"),
    ({'value_range_a': [1]}, 'value_range_a: [1]'),
    ({'grad_clip': 'often'}, "grad_clip: 'often'"),
    ({'max_iter': None}, 'max_iter'),
]


def said(command: str, arguments: list[str], place: Path, monkeypatch, capsys) -> list[str]:
    """The lines on stderr of a command that exits with status 2."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, 'argv', [f'{command.split(".")[-1]}.py'])
    before = {path for path in place.rglob('*')}
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: import_module(command).main(arguments))
    out, err = capsys.readouterr()
    assert ended.value.code == 2 and 'Traceback' not in err and not out
    left = {path for path in place.rglob('*') if path.is_file()} - before
    assert not left, left
    return err.splitlines()


@pytest.mark.parametrize('command, wrong, named', CASES, ids=[f'{command[0]} {wrong}' for command, wrong, _ in CASES])
def test_a_wrong_flag_is_one_line_that_names_it_and_says_what_would_be_right(place, monkeypatch, capsys, command, wrong,
                                                                              named):
    if command[0] == 'video':
        pytest.importorskip('av')
    if command[0] == 'extras.demo.server' and not find_spec('gradio'):
        pytest.skip('Gradio is not installed')
    line, = said(command[0], (command[1] + wrong).split(), place, monkeypatch, capsys)
    assert named in line and ADVICE.search(line.split(named)[1] or line), line


@pytest.mark.parametrize('changes, named', KEYS, ids=[named for _, named in KEYS])
def test_a_wrong_key_is_one_line_that_names_it_and_says_what_would_be_right(place, monkeypatch, capsys, changes, named):
    config = {**yaml.safe_load((place / 'config.yaml').read_text()), 'data_root': 'data', 'test_share': 0.05}
    for name, value in changes.items():
        section, _, key = name.rpartition('.')
        (config[section] if section else config)[key] = value
    config = {key: value for key, value in config.items() if value is not None}
    path = place / 'wrong.yaml'
    path.write_text(yaml.safe_dump(config))
    try:
        lines = said('train', ['--config', 'wrong.yaml', '--device', 'cpu'], place, monkeypatch, capsys)
    finally:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    line = lines[0]
    assert line.startswith('wrong.yaml: ') and named in line, lines
    assert ADVICE.search(line.split(named)[1]), line
