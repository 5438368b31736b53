"""The page of a run, opened in a browser from a copied folder, and what TensorBoard gets in addition to the losses."""
import html
import json
import math
import re
import shutil
import signal
import statistics
import time
from pathlib import Path

import compare_runs
import numpy as np
import pytest
import rebuild_run_page
import torch
import yaml
from parity import config_with
from PIL import Image
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
from test_commands import complaint

import train as train_command
from core.errors import RunEnded
from core.files import replace_text
from core.tensorboard_log import Log, events, scalars
from engine.cli import run_command
from engine.run_page import comparison
from engine.run_page import page as run_page
from engine.run_page.page import PACE, POINTS, Curves, Report, as_script, read_data
from engine.training import StopSignal
from trainer import MUNIT_Trainer

NAME = '<img src=x onerror=alert(1)>'   # the name of a config, and so of its run
TINY = {'max_iter': 8, 'batch_size': 1, 'new_size': 36, 'crop_image_height': 32, 'crop_image_width': 32,
        'display_size': 3, 'log_iter': 1, 'image_save_iter': 2, 'image_display_iter': 1, 'snapshot_save_iter': 3,
        'num_workers': 0, 'deterministic': True, 'log_styles': True, 'display_guided': True, 'ema_decay': 0.9,
        'gen': {'dim': 4, 'n_res': 1}, 'dis': {'dim': 4, 'n_layer': 2, 'num_scales': 2}}
PAIRED = {**{key: TINY[key] for key in ('max_iter', 'new_size', 'crop_image_height', 'crop_image_width', 'log_iter',
                                        'display_size', 'num_workers')},
          'image_save_iter': 4, 'image_display_iter': 3, 'snapshot_save_iter': 8,
          'gen': {'dim': 4, 'enc_dim': 4}, 'dis': {'dim': 4, 'n_layer': 2}}


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    """Images in a folder whose name, which is in the config, would end a script element."""
    root = tmp_path_factory.mktemp('data') / '<' / 'script><b>&'
    for i, folder in enumerate(('trainA', 'trainB', 'testA', 'testB')):
        (root / folder).mkdir(parents=True)
        for j in range(4):
            values = np.random.RandomState(10 * i + j).randint(0, 256, (40, 44, 3), dtype=np.uint8)
            Image.fromarray(values).save(root / folder / f'{j}.png')
    return root


def train(folder: Path, data: Path, *arguments, trainer='MUNIT', name=NAME, **changes) -> int:
    settings = config_with(**{**TINY, **changes}) if trainer == 'MUNIT' else {**PAIRED, **changes}
    path = folder / f'{name}.yaml'
    path.write_text(yaml.safe_dump({**settings, 'data_root': str(data)}))
    return train_command.main(['--config', str(path), '--trainer', trainer, '--output_path', str(folder), '--device',
                               'cpu', '--seed', '7', *map(str, arguments)])


@pytest.fixture(scope='module')
def run(data, tmp_path_factory) -> Path:
    """The output path of a MUNIT that was trained for 8 iterations without interruption."""
    folder = tmp_path_factory.mktemp('run')
    assert train(folder, data) == 0
    return folder


@pytest.fixture(scope='module')
def resumed(data, tmp_path_factory) -> Path:
    """The same run, stopped after 5 iterations and resumed."""
    folder = tmp_path_factory.mktemp('resumed')
    assert train(folder, data, '--max_iter', 5) == 0
    assert train(folder, data, '--resume') == 0
    return folder


# -- what the page knows ----------------------------------------------------------------------------------------------

def test_the_data_of_a_run_is_complete_and_valid_json(run):
    text = (run / 'outputs' / NAME / 'run.js').read_text()
    assert text.startswith('showRun(') and text.endswith(');\n') and not set(text) & set('<>&')
    told = json.loads(text[len('showRun('):-len(');\n')])
    assert (told['name'], told['method'], told['state'], told['step'], told['max_iter']) == (
        NAME, 'MUNIT', 'finished', 8, 8)
    assert told['pictures'] == {'train': [2, 4, 6, 8], 'test': [2, 4, 6, 8]} and told['current'] == 8
    assert told['kinds'][-1] == 'style of an image' and told['ways'] == ['a2b', 'b2a'] and told['averaged'] == 0.9
    assert dict(told['facts']).keys() == {'Device', 'Precision', 'Seed'} and dict(told['facts'])['Seed'] == '7'
    assert dict(told['versions'])['torch'] == torch.__version__.partition('+')[0]
    assert 'GiB' in told['memory'] and 0 < told['pace'] < 60 and abs(told['written'] - time.time()) < 3600
    config = {name: (value, default, given) for name, value, default, given in told['config']}
    assert config['ema_decay'] == (0.9, 0.0, False) and config['gen.dim'] == (4, None, False)
    assert config['data_root'][0].endswith('</script><b>&')
    assert '--resume' in told['resume'] and '--resume' not in told['command']


def test_the_curves_are_what_was_logged(run):
    curves = read_data(run / 'outputs' / NAME)['curves']
    assert curves['steps'] == list(range(1, 9)) and curves['every'] == 1
    logged = {}
    for _, name, value in scalars(run / 'logs' / NAME):
        logged.setdefault(name, []).append(value)
    assert curves['terms'].keys() == {*logged, PACE}
    for name, values in logged.items():
        assert curves['terms'][name] == {'mean': pytest.approx(values, rel=1e-3)}, name
    assert curves['terms'][PACE]['mean'][0] is None and all(value > 0 for value in curves['terms'][PACE]['mean'][1:])


@pytest.mark.slow
def test_a_resumed_run_has_the_page_and_the_log_of_an_uninterrupted_one(run, resumed):
    one, two = (folder / 'outputs' / NAME for folder in (run, resumed))
    assert (one / 'index.html').read_bytes() == (two / 'index.html').read_bytes()
    ours, theirs = (read_data(folder) for folder in (one, two))
    for told in (ours, theirs):
        del told['curves']['terms'][PACE]
    assert ours['curves'] == theirs['curves'] and ours['pictures'] == theirs['pictures']
    logged = [[(event.step, value.SerializeToString()) for event in events(folder / 'logs' / NAME)
               for value in event.summary.value if not value.tag.startswith('_hparams_')] for folder in (run, resumed)]
    assert sorted(logged[0]) == sorted(logged[1])


def test_overrides_of_the_command_line_are_marked(resumed, data, tmp_path):
    assert train(tmp_path, data, '--max_iter', 2) == 0
    given = [name for name, *_, given in read_data(tmp_path / 'outputs' / NAME)['config'] if given]
    assert given == ['max_iter']


@pytest.mark.slow
def test_a_new_run_in_an_earlier_runs_folder_shows_only_itself(data, tmp_path):
    assert train(tmp_path, data, '--max_iter', 3, image_save_iter=1) == 0
    assert train(tmp_path, data, '--max_iter', 2, log_iter=2, image_display_iter=2) == 0
    told = read_data(tmp_path / 'outputs' / NAME)
    assert told['pictures'] == {'train': [2], 'test': [2]} and told['curves']['steps'] == [2]
    assert train(tmp_path, data, '--max_iter', 4, '--resume', log_iter=2, image_save_iter=3) == 0
    told = read_data(tmp_path / 'outputs' / NAME)
    assert told['pictures'] == {'train': [2, 3], 'test': [2, 3]} and told['curves']['steps'] == [2, 4]
    assert [step for step, name, _ in scalars(tmp_path / 'logs' / NAME) if name == 'loss_gen_total'] == [2, 4]


def test_a_run_that_is_stopped_or_fails_says_so(data, tmp_path, monkeypatch):
    monkeypatch.setattr(StopSignal, 'asked', lambda self: int(signal.SIGTERM))
    assert train(tmp_path, data) == 128 + signal.SIGTERM
    told = read_data(tmp_path / 'outputs' / NAME)
    assert (told['state'], told['why'], told['step']) == ('stopped', 'SIGTERM', 1)
    assert 'http-equiv="refresh"' not in (tmp_path / 'outputs' / NAME / 'index.html').read_text()

    def full(*_):
        told = read_data(tmp_path / 'outputs' / NAME)
        assert told['state'] == 'running'   # before its first picture
        assert 'http-equiv="refresh"' in (tmp_path / 'outputs' / NAME / 'index.html').read_text()
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(MUNIT_Trainer, 'update', full)
    with pytest.raises(RunEnded):
        train(tmp_path, data)
    told = read_data(tmp_path / 'outputs' / NAME)
    assert told['state'] == 'failed' and told['why'].startswith('out of memory on cpu: batch_size 1')


def test_a_method_of_one_direction_has_a_page_of_one(data, tmp_path):
    assert train(tmp_path, data, trainer='BicycleGAN', name='pairs') == 0
    page, told = (tmp_path / 'outputs/pairs/index.html').read_text(), read_data(tmp_path / 'outputs/pairs')
    assert told['ways'] == ['a2b'] and 'b2a' not in page.split('<script>')[0] and page.count('<figure data-way') == 1
    assert re.findall('<li>(.*?)</li>', page)[1:3] == ['its pair', html.escape("translation with the pair's code")]
    tags = {value.tag for event in events(tmp_path / 'logs/pairs') for value in event.summary.value}
    assert {'style_b/all', 'style_b/7'} <= tags and 'style_a/all' not in tags


def test_the_command_rebuilds_the_page_of_an_earlier_run(run, tmp_path, capsys):
    folder = tmp_path / 'old'
    shutil.copytree(run / 'outputs' / NAME / 'images', folder / 'images')
    (folder / 'index.html').write_text('<p>The rows of a picture: input, &lt;b&gt;. The page reloads itself.</p>\n'
                                       '<h2>Now, after 8 iterations</h2>')
    rebuild_run_page.main([str(folder)])
    told = read_data(folder)
    assert told['kinds'] == ['input', '<b>'] and told['current'] == 8 and told['curves']['steps'] == []
    assert told['pictures'] == {'train': [2, 4, 6, 8], 'test': [2, 4, 6, 8]}
    rebuild_run_page.main([str(folder), '--logs', str(run / 'logs' / NAME)])
    assert read_data(folder)['curves']['steps'] == list(range(1, 9))
    for arguments in ([tmp_path / 'none'], [folder, '--logs', tmp_path]):
        with pytest.raises(SystemExit) as exit_info:
            run_command(lambda arguments=arguments: rebuild_run_page.main([str(argument) for argument in arguments]))
        assert exit_info.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_page_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch):
    (tmp_path / 'run.js').write_text('good')
    honest = Path.write_text

    def half(path, text, **options):
        honest(path, text[:2], **options)
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Path, 'write_text', half)
    with pytest.raises(OSError):
        replace_text(tmp_path / 'run.js', 'better')
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [('run.js', 'good')]


@pytest.mark.parametrize('content', ['', 'showRun(', 'showRun({});', 'showRun([1]);', '\xff',
                                     'showRun({"pictures":3});'])
def test_an_invalid_run_js_is_ignored(tmp_path, content):
    (tmp_path / 'run.js').write_text(content)
    assert read_data(tmp_path) is None


# -- curves -----------------------------------------------------------------------------------------------------------

def test_curves_are_thinned_and_lose_no_extreme():
    curves, values = Curves(), np.random.RandomState(0).standard_normal(10_000)
    for i, value in enumerate(values, 1):
        late = {'late': 1.0} if i > 9000 else {}
        curves.add({'loss': value, **late}, 10 * i, i / 2)
        assert len(curves.steps) <= 2 * POINTS and (i < POINTS or len(curves.steps) >= POINTS)
    drawn = curves.data()
    every, loss = drawn['every'], drawn['terms']['loss']
    assert every == 16 and drawn['steps'] == [10 * min(16 * (i + 1), 10_000) for i in range(625)]
    for i in range(625):
        part = values[16 * i:16 * (i + 1)]
        assert (loss['mean'][i], loss['low'][i], loss['high'][i]) == pytest.approx(
            (part.mean(), part.min(), part.max()), rel=1e-3, abs=1e-6)
    assert drawn['terms']['late']['mean'] == [None] * 562 + [1.0] * 63
    assert set(drawn['terms'][PACE]['mean']) == {0.05} and curves.pace() == pytest.approx(0.05)


def test_a_value_that_is_not_finite_leaves_a_gap_and_json():
    curves = Curves()
    for step, value in enumerate((1.0, math.nan, math.inf, 2.0), 1):
        curves.add({'loss': value}, step, 0.0)
    assert curves.data()['terms']['loss']['mean'] == [1.0, None, None, 2.0]
    json.loads(as_script(curves.data()), parse_constant=pytest.fail)


def test_a_page_of_a_million_iterations_stays_small_and_fast(tmp_path):
    names = [f'loss_gen_term_{i}' for i in range(25)]
    told = Report(tmp_path, {'name': 'long', 'kinds': ['input'], 'ways': ['a2b', 'b2a'], 'max_iter': 10 ** 6})
    for i in range(2 * POINTS - 1):   # the largest number of points
        told.curves.add(dict.fromkeys(names, 1.23456 * i), 10 * i, i)
    told.curves.every = 64
    told.pictures = dict.fromkeys(told.pictures, list(range(10_000, 1_000_001, 10_000)))
    began = time.process_time()
    told.write(10 ** 6)
    assert time.process_time() - began < 1
    assert (tmp_path / 'run.js').stat().st_size + (tmp_path / 'index.html').stat().st_size < 10 ** 6
    assert len(told.curves.times) <= run_page.PACED_BY


def test_events_that_a_later_file_supersedes_are_not_read(tmp_path):
    for first, last, value in ((0, 6, 1.0), (4, 8, 2.0), (4, 9, 3.0)):
        log = Log(tmp_path, first)
        for step in range(first + 1, last + 1):
            log.add_scalars({'loss': value, 'other': 0.0}, step)
        log.close()
        time.sleep(0.01)
    assert [(step, value) for step, name, value in scalars(tmp_path) if name == 'loss'] == [
        *((step, 1.0) for step in range(1, 5)), *((step, 3.0) for step in range(5, 10))]


# -- TensorBoard ------------------------------------------------------------------------------------------------------

def test_tensorboard_has_the_pictures_the_numbered_ones_and_of_the_current_ones_those_that_double(data, tmp_path):
    assert train(tmp_path, data, image_save_iter=6) == 0
    found = [(event.step, value.tag) for event in events(tmp_path / 'logs' / NAME) for value in event.summary.value
             if value.HasField('image')]
    assert sorted(found) == sorted([(step, f'gen_{way}_train') for step in (1, 2, 4, 6, 8) for way in ('a2b', 'b2a')]
                                   + [(6, f'gen_{way}_test') for way in ('a2b', 'b2a')])


def test_tensorboard_has_the_spread_of_styles(run):
    found = {(event.step, value.tag): value.histo for event in events(run / 'logs' / NAME)
             for value in event.summary.value if value.HasField('histo')}
    names = [f'style_{domain}/{which}' for domain in 'ab' for which in ('all', *range(8))] + ['style_prior/all']
    assert found.keys() == {(step, name) for step in (2, 4, 6, 8) for name in names}
    of_all, of_each = found[8, 'style_a/all'], [found[8, f'style_a/{number}'] for number in range(8)]
    assert of_all.num == 2 * 3 * 8 == sum(one.num for one in of_each)       # train and test images, 8 numbers each
    assert of_all.sum == pytest.approx(sum(one.sum for one in of_each))
    prior = found[8, 'style_prior/all']
    shares = {round(limit, 6): count / prior.num for limit, count in zip(prior.bucket_limit, prior.bucket, strict=True)}
    normal = statistics.NormalDist()
    for limit in (-1.0, 0.3, 2.0):
        assert shares[limit] == pytest.approx(normal.cdf(limit) - normal.cdf(limit - 0.1), abs=0.002)


def test_tensorboard_has_the_settings_once(resumed):
    records = [event for event in events(resumed / 'logs' / NAME) for value in event.summary.value
               if value.tag.startswith(('_hparams_', 'config'))]
    settings = {value.tag: value for event in records for value in event.summary.value}
    assert len(records) == 3 and settings.keys() == {
        '_hparams_/experiment', '_hparams_/session_start_info', 'config/text_summary'}
    start = HParamsPluginData.FromString(settings['_hparams_/session_start_info'].metadata.plugin_data.content)
    told = start.session_start_info.hparams
    assert told['max_iter'].number_value == 8 and told['gen.dim'].number_value == 4
    assert told['gen.activ'].string_value == 'relu' and told['deterministic'].bool_value
    experiment = HParamsPluginData.FromString(settings['_hparams_/experiment'].metadata.plugin_data.content).experiment
    assert {metric.name.tag for metric in experiment.metric_infos} == {'loss_gen_total', 'loss_dis_total'}
    assert b'| max_iter | 8 |' in settings['config/text_summary'].tensor.string_val[0]


def test_histograms_have_room_for_all_values_and_need_none(tmp_path):
    log = Log(tmp_path)
    log.add_histogram('some', np.array([[-1e9, 0.1], [math.nan, 1e9]]), 1)
    log.add_histogram('none', np.array([math.nan]), 1)
    log.close()
    value, = (value for event in events(tmp_path) for value in event.summary.value)
    assert value.tag == 'some' and sum(value.histo.bucket) == value.histo.num == 3


def test_looking_at_styles_changes_nothing():
    trainer = MUNIT_Trainer(config_with(**{**TINY, 'ema_decay': 0, 'gen': {**TINY['gen'], 'spectral_norm': True}}))
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    before, noise = {key: value.clone() for key, value in trainer.state_dict().items()}, torch.get_rng_state()
    codes = trainer.style_codes(images, -images)
    assert {name: tuple(of_domain.shape) for name, of_domain in codes.items()} == {'a': (3, 8), 'b': (3, 8)}
    assert torch.equal(torch.get_rng_state(), noise) and trainer.gen_a.enc_style.training
    assert all(torch.equal(value, before[key]) for key, value in trainer.state_dict().items())


# -- the page in a browser --------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def browser():
    playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    found = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if found is None:
        pytest.skip('no Chromium here')
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=['--no-sandbox'])
        yield chromium
        chromium.close()


class Visit:
    """A page that is open in the browser, with its requests and errors."""

    def __init__(self, browser, place: Path, width: int = 1280, scheme: str = 'light', script: bool = True, hash_=''):
        self.context = browser.new_context(viewport={'width': width, 'height': 800}, color_scheme=scheme,
                                           java_script_enabled=script)
        self.page, self.asked, self.complaints = self.context.new_page(), [], []
        self.page.on('request', lambda request: self.asked.append(request.url))
        self.page.on('pageerror', lambda error: self.complaints.append(str(error)))
        self.page.on('console', lambda message: self.complaints.append(message.text))
        self.page.on('dialog', lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.goto(place.as_uri() + hash_)

    def __enter__(self):
        return self.page

    def __exit__(self, *_):
        self.context.close()


@pytest.fixture
def copied(run, tmp_path) -> Path:
    """The run's folder, copied to an otherwise empty place."""
    folder = tmp_path / 'a copy' / '100% & #1'
    shutil.copytree(run / 'outputs' / NAME, folder, ignore=shutil.ignore_patterns('checkpoints', '.lock'))
    return folder


def pretend(folder: Path, **changes) -> None:
    """Change the data of the page."""
    replace_text(folder / 'run.js', f'showRun({as_script({**read_data(folder), **changes})});\n')


@pytest.mark.parametrize('width, scheme', [(1280, 'light'), (390, 'dark')])
@pytest.mark.slow
def test_the_page_opens_from_a_copied_folder_and_asks_no_other_place(browser, copied, width, scheme):
    wide = np.random.RandomState(0).randint(0, 256, (5 * 32, 16 * 32, 3), dtype=np.uint8)   # of sixteen images
    Image.fromarray(wide).save(copied / 'images/gen_a2b_train_00000008.jpg')
    visit = Visit(browser, copied / 'index.html', width, scheme)
    with visit as page:
        page.wait_for_selector('path.curve', state='attached')
        page.wait_for_selector('img >> nth=0')
        assert page.inner_text('h1') == NAME and page.title() == NAME
        page.evaluate('document.querySelectorAll("details").forEach(one => { one.open = true })')
        assert page.evaluate('document.documentElement.scrollWidth') <= width
        assert page.evaluate('[...document.images].every(one => one.naturalWidth && one.alt)')
        assert page.evaluate('getComputedStyle(document.body).backgroundColor') == {
            'light': 'rgb(251, 250, 248)', 'dark': 'rgb(22, 22, 20)'}[scheme]
        text = page.inner_text('body')
        for said in ('Finished', '8 of 8', 's/it', 'GiB', 'averaged weights (ema_decay 0.9)', 'style of an image',
                     'Python', '</script><b>&', 'default: 0', 'gen_recon_x_a', 'python train.py'):
            assert said in text, said
        # the labels are at the height of their rows
        rows = page.evaluate('[...document.querySelectorAll("figure:first-of-type li")].map('
                             'one => one.getBoundingClientRect().top)')
        picture = page.evaluate('(one => [one.top, one.height])(document.images[0].getBoundingClientRect())')
        assert rows == pytest.approx([picture[0] + i * picture[1] / 5 for i in range(5)], abs=3)
    here = copied.as_uri() + '/'
    assert visit.asked and all(url.startswith((here, 'data:,')) for url in visit.asked), visit.asked
    assert visit.complaints == []


@pytest.mark.slow
def test_the_slider_shows_the_same_inputs_at_other_iterations_and_keeps_its_place(browser, copied):
    def shown() -> list[str]:
        return page.evaluate('[...document.images].map(one => one.getAttribute("src").split("?")[0])')

    with Visit(browser, copied / 'index.html') as page:
        page.focus('#slider')
        assert shown() == [f'images/gen_{way}_train_00000008.jpg' for way in ('a2b', 'b2a')]
        page.keyboard.press('ArrowLeft')
        page.keyboard.press('ArrowLeft')
        assert shown() == [f'images/gen_{way}_train_00000004.jpg' for way in ('a2b', 'b2a')]
        page.keyboard.press('ArrowRight')
        page.check('input[value=test]')
        assert shown() == [f'images/gen_{way}_test_00000006.jpg' for way in ('a2b', 'b2a')]
        assert page.inner_text('figcaption >> nth=1') == 'B → A, test images, after 6 iterations'
        assert 'after 6 iterations' in page.get_attribute('img >> nth=0', 'alt')
        page.reload()
        page.wait_for_selector('#slider')
        assert shown() == [f'images/gen_{way}_test_00000006.jpg' for way in ('a2b', 'b2a')]
        page.click('[aria-label=Later]')
        assert page.inner_text('#at') == '8, latest'


@pytest.mark.slow
def test_the_curves_answer_to_pointer_keys_and_switches(browser, copied):
    with Visit(browser, copied / 'index.html') as page:
        page.wait_for_selector('path.curve', state='attached')
        first = page.locator('.panel').first
        drawn = 'document.querySelectorAll("path.curve").length'
        before = page.evaluate(drawn)
        names = read_data(copied)['curves']['terms']
        assert before == len([1 for name in names if not re.search('cycrecon|vgg', name)])   # those are 0 throughout
        lines = page.evaluate('[...document.querySelectorAll("path.curve")].map(one => one.getAttribute("d"))')
        assert all(line.count('L') >= 6 and 'NaN' not in line for line in lines)
        first.locator('svg.chart').hover()
        tip = first.locator('.tip').inner_text()
        assert re.match(r'iteration [45]\s', tip) and 'gen_total' in tip
        beside, hair = first.locator('.tip').bounding_box(), first.locator('.hair').bounding_box()
        assert beside['x'] > hair['x'] or beside['x'] + beside['width'] < hair['x']
        total = read_data(copied)['curves']['terms']['loss_gen_total']['mean']
        first.locator('svg.chart').focus()
        page.keyboard.press('Home')
        assert f'{total[0]:g}' in first.locator('.tip').inner_text()
        box = page.get_by_role('checkbox', name='gen_total')
        box.uncheck()
        assert page.evaluate(drawn) == before - 1
        straight = first.locator('path.curve').get_attribute('d')
        page.check('#log')
        assert first.locator('path.curve').get_attribute('d') != straight
        off = page.get_by_role('checkbox', name='gen_vgg_a')   # until it is asked for
        off.check()
        page.reload()
        page.wait_for_selector('path.curve', state='attached')
        assert not box.is_checked() and page.is_checked('#log') and off.is_checked()


@pytest.mark.slow
def test_what_the_reader_has_set_stays_while_the_page_follows_the_run_and_it_rests_at_the_end(browser, copied):
    told = read_data(copied)
    curves = {'every': 1, 'steps': told['curves']['steps'][:4],
              'terms': {name: {'mean': parts['mean'][:4]} for name, parts in told['curves']['terms'].items()}}
    pretend(copied, state='running', step=4, current=4, pictures={'train': [2, 4], 'test': [2, 4]}, curves=curves,
            written=time.time(), pace=1)
    visit = Visit(browser, copied / 'index.html', width=390)
    with visit as page:
        page.wait_for_selector('path.curve', state='attached')
        page.clock.install()
        page.evaluate('document.dispatchEvent(new Event("visibilitychange"))')
        assert page.inner_text('#state').startswith('Running') and 'Time left' in page.inner_text('#facts')
        page.click('[aria-label=Earlier]')
        page.click('#config summary')
        page.evaluate('scrollTo(0, 700)')
        pretend(copied, **{**told, 'state': 'running', 'written': time.time() + 1, 'step': 6})
        page.clock.fast_forward(61_000)
        page.wait_for_selector('#facts:has-text("6 of 8")')
        assert page.input_value('#slider') == '0' and page.get_attribute('#slider', 'max') == '3'
        assert page.inner_text('#at') == '2' and page.evaluate('document.getElementById("config").open')
        assert page.evaluate('scrollY') == 700
        assert page.locator('path.curve').first.get_attribute('d').count('L') == 7
        pretend(copied, state='running', written=time.time() - 9000)
        page.evaluate('document.dispatchEvent(new Event("visibilitychange"))')
        page.wait_for_selector('#state:has-text("Silent")')
        assert '--resume' in page.inner_text('#resume')
        pretend(copied, state='stopped', why='SIGTERM', written=time.time())
        page.evaluate('document.dispatchEvent(new Event("visibilitychange"))')
        page.wait_for_selector('#state:has-text("Stopped by SIGTERM")')
        count = len(visit.asked)
        page.evaluate('document.dispatchEvent(new Event("visibilitychange"))')
        page.clock.fast_forward(3_600_000)
        page.wait_for_timeout(200)
        assert len(visit.asked) == count


@pytest.mark.slow
def test_text_from_users_is_escaped(browser, copied):
    bad = '</script><script>alert(1)</script><img src=x onerror=alert(1)>'
    told = read_data(copied)
    curves = {**told['curves'], 'terms': {**told['curves']['terms'], bad: {'mean': [1.0] * 8}}}
    pretend(copied, name=bad, state='failed', why=bad, command=bad, resume=bad, kinds=[bad] * 5, curves=curves,
            config=[[bad, bad, None, True]], versions=[[bad, bad]], facts=[[bad, bad]], memory=bad)
    replace_text(copied / 'index.html', run_page.page_of(copied, read_data(copied)))
    visit = Visit(browser, copied / 'index.html', hash_='#open=config,command,versions&split=<img>&off=' + bad)
    with visit as page:
        page.wait_for_selector('path.curve', state='attached')
        page.wait_for_timeout(100)
        assert page.inner_text('h1') == bad and page.inner_text('#command code') == bad
        assert page.evaluate('[document.images.length, document.scripts.length]') == [2, 2]
    assert visit.complaints == []


@pytest.mark.slow
def test_without_javascript_the_latest_pictures_are_shown(browser, copied):
    visit = Visit(browser, copied / 'index.html', width=390, script=False)
    with visit as page:
        assert page.locator('img').count() == 2
        for i in range(2):
            box = page.locator('img').nth(i).bounding_box()
            assert box['width'] > 100 and box['height'] > 100
        assert page.locator('noscript a').count() == 16
    assert {url.rsplit('/', 1)[1] for url in visit.asked} >= {f'gen_{way}_train_current.jpg' for way in ('a2b', 'b2a')}


@pytest.mark.slow
def test_a_page_without_its_data_says_so_and_shows_the_pictures(browser, copied):
    (copied / 'run.js').unlink()
    with Visit(browser, copied / 'index.html') as page:
        page.wait_for_selector('#curves:has-text("copy the whole folder")')
        assert page.evaluate('[...document.images].every(one => one.naturalWidth)')


# -- several runs on a page -------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def shorter(data, tmp_path_factory) -> Path:
    """Another run, of 5 iterations and other settings."""
    folder = tmp_path_factory.mktemp('shorter')
    assert train(folder, data, '--max_iter', 5, name='short, <i>one', lr=0.001, image_save_iter=1) == 0
    return folder / 'outputs' / 'short, <i>one'


def test_runs_are_compared_at_the_same_steps(run, shorter, tmp_path):
    compare_runs.main([str(run / 'outputs' / NAME), str(shorter), '--output_folder', str(tmp_path / 'both')])
    told = read_data(tmp_path / 'both')
    assert told['runs'] == [NAME, 'short, <i>one'] and told['pictures']['train'] == [2, 4]
    one, two = (read_data(folder)['curves'] for folder in (run / 'outputs' / NAME, shorter))
    assert told['curves']['steps'] == list(range(1, 9))
    terms = told['curves']['terms']
    assert terms[f'loss_gen_total\n{NAME}']['mean'] == pytest.approx(one['terms']['loss_gen_total']['mean'])
    found = terms['loss_gen_total\nshort, <i>one']['mean']
    assert found[:5] == pytest.approx(two['terms']['loss_gen_total']['mean']) and found[5:] == [None] * 3
    assert {row[0]: row[1:] for row in told['config']} == {'lr': [0.0001, 0.001], 'max_iter': [8, 5],
                                                           'image_save_iter': [2, 1]}
    assert dict(told['facts'])['short, <i>one'] == 'MUNIT, 5 of 5 iterations, finished'


def test_curves_of_many_points_are_compared_at_few_and_to_their_ends():
    runs = [{'curves': {'steps': list(range(step, end + 1, step)), 'every': 1,
                        'terms': {'x': {'mean': [float(i) for i in range(step, end + 1, step)]}}}}
            for step, end in ((10, 9_000), (1, 20_000))]
    curves = comparison._curves(runs, ['a', 'b'])
    assert len(curves['steps']) <= 2 * POINTS and curves['steps'][-1] == 20_000
    for name, end in (('a', 9_000), ('b', 20_000)):
        for step, value in zip(curves['steps'], curves['terms'][f'x\n{name}']['mean'], strict=True):
            assert value is None if step > end or name == 'a' and step < 10 else abs(value - step) <= 1e-3 * step


@pytest.mark.parametrize('case, words', [
    ('one', '1 folders: 2 to 8'), ('same', '2 folders: 2 to 8 different'), ('none', 'no run.js'),
    ('damaged', 'a run.js is damaged'), ('over', 'whose page would be lost')])
def test_runs_that_cannot_be_compared_are_one_line_and_nothing_is_written(run, tmp_path, capsys, case, words):
    folder, out = run / 'outputs' / NAME, tmp_path / 'out'
    other = tmp_path / 'other'
    other.mkdir()
    if case in ('damaged', 'over'):
        shutil.copy(folder / 'run.js', other)
    if case == 'damaged':
        pretend(other, curves={'steps': [1]})
    folders = {'one': [folder], 'same': [folder, folder / '.' / '']}.get(case, [folder, other])
    line = complaint(capsys, compare_runs.main, *folders, '--output_folder', folder if case == 'over' else out)
    assert words in line and not out.exists()


@pytest.mark.slow
def test_a_comparison_overlays_curves_and_sets_pictures_side_by_side(browser, run, shorter, tmp_path):
    for name, folder in (('100% #1', run / 'outputs' / NAME), ('two', shorter)):
        shutil.copytree(folder, tmp_path / name, ignore=shutil.ignore_patterns('checkpoints', '.lock'))
    compare_runs.main([str(tmp_path / '100% #1'), str(tmp_path / 'two'), '--output_folder', str(tmp_path / 'both')])
    visit = Visit(browser, tmp_path / 'both' / 'index.html')
    with visit as page:
        page.wait_for_selector('path.curve', state='attached')
        page.wait_for_function('document.images.length === 4 && [...document.images].every(one => one.naturalWidth)')
        assert 'two/images/gen_a2b_train_00000004.jpg' in page.get_attribute('img >> nth=1', 'src')
        boxes = [page.locator('figure').nth(i).bounding_box() for i in range(2)]
        assert boxes[0]['y'] == boxes[1]['y'] and boxes[1]['x'] >= boxes[0]['x'] + boxes[0]['width']
        first = page.locator('.panel').first
        assert first.locator('h3').inner_text().endswith('_total') and first.locator('path.curve').count() == 2
        assert first.locator('.legend span').all_inner_texts() == [NAME, 'short, <i>one']
        colours = first.locator('path.curve').evaluate_all('all => all.map(one => getComputedStyle(one).stroke)')
        assert len(set(colours)) == 2
        first.locator('.legend input').first.uncheck()
        assert first.locator('path.curve').count() == 1
        page.focus('#slider')
        page.keyboard.press('ArrowLeft')
        assert page.inner_text('figcaption >> nth=1') == 'short, <i>one: A → B, training images, after 2 iterations'
        page.evaluate('document.querySelectorAll("details").forEach(one => { one.open = true })')
        assert 'Config: 3 keys differ' in page.inner_text('body') and '0.001' in page.inner_text('details')
    assert visit.complaints == []
