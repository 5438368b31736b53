"""Metrics of outlines and photographs on white, with known results, and the command that prints them."""
import json

import numpy as np
import pytest
import torch

pytest.importorskip('skimage')

import evaluate_photos
from PIL import Image, ImageDraw
from test_commands import complaint
from tiny import flags, make_model

from extras.metrics import photo_metrics as metrics


def shirt(colour: tuple[int, int, int], size: int = 64) -> torch.Tensor:
    """A square of one colour on white (3, H, W)."""
    image = torch.full((3, size, size), 1.0)
    image[:, 16:48, 16:48] = torch.tensor(colour).view(3, 1, 1) / 127.5 - 1
    return image


def outline_of_square(size: int = 64) -> torch.Tensor:
    picture = Image.new('L', (size, size), 255)
    ImageDraw.Draw(picture).rectangle((16, 16, 47, 47), outline=0)
    return torch.from_numpy(np.asarray(picture) / 127.5 - 1).float()[None]


def test_the_colour_is_that_of_the_object():
    red = metrics.colour_of(shirt((255, 0, 0)))
    assert np.allclose(red, (53.24, 80.09, 67.20), atol=0.1)   # sRGB red in CIE Lab
    small = torch.full((3, 64, 64), 1.0)
    small[:, 24:40, 24:40] = torch.tensor((1.0, -1.0, -1.0)).view(3, 1, 1)
    assert np.allclose(metrics.colour_of(small), red, atol=0.1)
    assert np.allclose(metrics.colour_of(torch.ones(3, 64, 64)), (100, 0, 0), atol=0.1)


def test_differences_and_coverage_are_those_of_the_colours():
    colours = [np.array((50, 0, 0)), np.array((50, 30, 0)), np.array((50, 30, 40))]
    assert metrics.mean_difference(colours) == pytest.approx((30 + 50 + 40) / 3)
    assert metrics.coverage(colours, [np.array((50, 0, 14)), np.array((50, 30, 16))]) == pytest.approx(1 / 3)


def test_content_is_kept_where_the_edges_are_those_of_the_outline():
    lines = outline_of_square()
    assert metrics.content_kept(shirt((200, 0, 0)), lines) > 0.9
    moved = torch.roll(shirt((200, 0, 0)), 10, dims=2)
    assert metrics.content_kept(moved, lines) < 0.7
    assert metrics.content_kept(torch.ones(3, 64, 64), lines) == 0


def test_what_an_outline_encloses_is_filled_or_not():
    lines = outline_of_square()
    assert metrics.filled(shirt((0, 0, 200)), lines) == 1
    hole = shirt((0, 0, 200))
    hole[:, 20:44, 20:44] = 1
    assert metrics.filled(hole, lines) < 0.5 and metrics.filled(torch.ones(3, 64, 64), lines) == 0


def test_the_command_writes_what_it_prints(tmp_path, capsys):
    model = make_model(tmp_path)
    root = tmp_path / 'data'
    for folder in ('trainA', 'trainB', 'testA', 'testB'):
        (root / folder).mkdir(parents=True)
        for i in range(5):
            if folder.endswith('A'):
                picture = Image.new('RGB', (64, 64), 'white')
                ImageDraw.Draw(picture).rectangle((10 + i, 16, 47, 47), outline='black')
            else:
                values = (shirt((40 * i, 90, 200)).permute(1, 2, 0).numpy() + 1) * 127.5
                picture = Image.fromarray(values.astype('uint8'))
            picture.save(root / folder / f'{i}.png')
    from pathlib import Path

    import yaml
    config = yaml.safe_load(Path(model['config']).read_text())
    config['data_root'] = str(root)
    (tmp_path / 'photos.yaml').write_text(yaml.safe_dump(config))
    given = flags({**model, 'config': tmp_path / 'photos.yaml'}, output_folder=tmp_path / 'out', num_style=2)
    evaluate_photos.main(given)
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / 'out' / 'photo_metrics.json').read_text())
    assert found['inputs'] == 5 and all(name in printed for name in found['metrics'])
    assert all(np.isfinite(value) for value in found['metrics'].values())
    for path in (root / 'testA').iterdir():
        if path.stem != '0':
            path.unlink()
    assert 'at least 4 are required' in complaint(capsys, evaluate_photos.main, *given)


def test_a_missing_package_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(evaluate_photos, 'find_spec', lambda name: None)
    line = complaint(capsys, evaluate_photos.main, '--config', 'c.yaml', '--checkpoint', 'c.pt')
    assert 'scikit-image is missing' in line and 'requirements/photos.txt' in line
