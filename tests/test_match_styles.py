"""scripts/match_styles.py: coordinates of the style code in which the styles of images have the moments of N(0, 1)."""
import pytest
import torch
import yaml
from test_commands import complaint, save_noise
from tiny import make_model

from engine.config import load_config
from engine.translator import make_translator
from scripts import match_styles

IMAGES = 24


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp('model')
    model = make_model(folder)
    config = yaml.safe_load(model['config'].read_text())
    model['config'].write_text(yaml.safe_dump({**config, 'data_root': str(folder / 'data')}))
    for i in range(IMAGES):
        for domain in 'AB':
            for split in ('train', 'test'):
                save_noise(folder / 'data' / f'{split}{domain}' / f'{i}.png', seed=100 * i + ord(domain))
    return model


def call(model, output, *others) -> list[str]:
    return ['--config', str(model['config']), '--checkpoint', str(model['checkpoint']), '--output', str(output),
            '--device', 'cpu', *others]


@pytest.mark.parametrize('a2b', [True, False])
def test_styles_are_spread_as_the_prior_and_translations_by_example_stay(model, tmp_path, a2b):
    match_styles.main(call(model, tmp_path / 'matched.pt'))
    config = load_config(model['config'])
    before, after = (make_translator(config, checkpoint, a2b, 'MUNIT', torch.device('cpu'))
                     for checkpoint in (model['checkpoint'], tmp_path / 'matched.pt'))
    paths = sorted((model['config'].parent / 'data' / f'train{before.target.upper()}').iterdir())
    images = [before.read(path, before.target) for path in paths]
    codes = torch.cat([after.encode_style(image).flatten(1) for image in images])
    raw = torch.cat([before.encode_style(image).flatten(1) for image in images])
    assert not torch.allclose(torch.cov(raw.T), torch.eye(8), atol=0.1)
    assert codes.mean(0).abs().max() < 0.02
    variances, found = torch.linalg.eigvalsh(torch.cov(raw.T).double()), torch.linalg.eigvalsh(torch.cov(codes.T))
    used = variances > match_styles.LEAST_VARIANCE   # a dimension that was hardly used remains so
    assert (found.flip(0)[:int(used.sum())] - 1).abs().max() < 0.05 and found.max() < 1.05
    content = before.read(model['inputs'] / '0.png', before.source)
    for image in images[:3]:
        torch.testing.assert_close(after.translate(content, after.encode_style(image)),
                                   before.translate(content, before.encode_style(image)), atol=1e-3, rtol=1e-3)


def test_the_file_keeps_its_keys_and_its_kind_of_numbers(model, tmp_path):
    halved = {name: {key: value.half() for key, value in state.items()}
              for name, state in torch.load(model['checkpoint']).items()}
    torch.save(halved, tmp_path / 'half.pt')
    match_styles.main(call({**model, 'checkpoint': tmp_path / 'half.pt'}, tmp_path / 'matched.pt'))
    found = torch.load(tmp_path / 'matched.pt')
    assert {name: list(state) for name, state in found.items()} == {name: list(state) for name, state in halved.items()}
    changed = {key for key, value in found['a'].items() if not torch.equal(value, halved['a'][key])}
    assert {key.split('.')[0] for key in changed} == {'enc_style', 'mlp'} and len(changed) == 4
    assert all(value.dtype == torch.float16 for value in found['b'].values())


def test_what_cannot_be_matched_is_one_line(model, tmp_path, capsys):
    few = tmp_path / 'few'
    for domain in 'AB':
        save_noise(few / f'train{domain}' / '0.png', seed=1)
    for others, words in ((('--trainer', 'UNIT'), '--trainer UNIT'),
                          (('--data_root', str(few)), 'at least 16 are needed'),
                          (('--output', str(model['checkpoint'])), 'would be overwritten')):
        assert words in complaint(capsys, match_styles.main, *call(model, tmp_path / 'out.pt', *others))
    assert not (tmp_path / 'out.pt').exists()
