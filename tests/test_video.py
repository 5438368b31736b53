"""video.py: its films opened frame by frame, their sound packet by packet, and what it refuses."""
import contextlib
import itertools
import os
import shutil
import struct
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from parity import config_with, fill
from PIL import Image
from test_commands import UNIT, complaint, save_noise
from tiny import flags, make_model

import test as test_command
import video as video_command
from data import Transform
from engine.cli import run_command
from engine.config import load_config
from engine.style_codes import read_codes, slerp
from engine.translator import Translator, make_translator
from extras.video.video_files import open_film
from networks import VAEGen
from utils import to_bytes, to_picture

CODE = '0.3,-1.2,0,1e-3,2,-0.5,1,0.25'
NTSC = Fraction(30000, 1001)
FRAMES = 9


@pytest.fixture(scope='module')
def av():
    return pytest.importorskip('av', reason='PyAV is not installed: pip install -r requirements/demo.txt')


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> dict:
    return make_model(tmp_path_factory.mktemp('model'))


@pytest.fixture(scope='module')
def translator(model) -> Translator:
    return make_translator(load_config(model['config']), model['checkpoint'], True, 'MUNIT', torch.device('cpu'))


def style_of(seed: int) -> torch.Tensor:
    return torch.randn(1, 8, 1, 1, generator=torch.Generator().manual_seed(seed))


def scene(i: int, width: int = 64, height: int = 48) -> np.ndarray:
    """The i-th picture of a film: smooth, so that coders lose little of it, and not the same in its four quarters."""
    y, x = np.mgrid[:height, :width]
    waves = [128 + 90 * np.sin((x + 4 * i) / 9), 128 + 90 * np.cos((y - 3 * i) / 11), 60 + (x + 2 * y + 8 * i) % 97]
    return np.stack(waves, 2).astype(np.uint8)


def write(av, path: Path, size=(64, 48), times=range(0, 1001 * FRAMES, 1001), tick=Fraction(1, 30000), rate=NTSC,
          coder='libx264', pixels='yuv420p', aspect=None, sounds=('aac',), seconds=0.4, sound_at=0.0, tags=(),
          same=False, **options) -> Path:
    """A film of `scene`s at the times, with a sine in each of the sounds."""
    with av.open(str(path), 'w', **options) as container:
        film = container.add_stream(coder, rate=rate)
        film.width, film.height, film.pix_fmt = *size, pixels
        film.codec_context.time_base = tick
        film.metadata.update(tags)
        if aspect:
            film.codec_context.sample_aspect_ratio = aspect
        tones = []
        for name in sounds:
            tones.append(container.add_stream(name, rate=48000))
            tones[-1].layout, tones[-1].bit_rate = 'stereo', 128_000
        container.start_encoding()
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(scene(0 if same else i, *size)).reformat(format=pixels)
            frame.pts, frame.time_base = time, tick
            container.mux(film.encode(frame))
        container.mux(film.encode(None))
        for number, tone in enumerate(tones, start=1):
            for start in range(0, round(seconds * 48000), 1024):
                wave = 0.4 * np.sin(2 * np.pi * 440 * number * np.arange(start, start + 1024) / 48000)
                frame = av.AudioFrame.from_ndarray(np.tile(wave.astype(np.float32), (2, 1)), 'fltp', 'stereo')
                frame.sample_rate, frame.time_base = 48000, Fraction(1, 48000)
                frame.pts = start + round(sound_at * 48000)
                container.mux(tone.encode(frame))
            container.mux(tone.encode(None))
    return path


class Seen:
    """What a film holds: its pictures, their times in seconds, its packets of sound, and how it is laid out."""

    def __init__(self, av, path: Path):
        with av.open(str(path)) as container:
            film = container.streams.video[0]
            frames = []
            with contextlib.suppress(av.error.InvalidDataError):   # where it is cut off
                frames.extend(container.decode(film))
            self.times = [frame.pts * film.time_base for frame in frames]
            self.pictures = [frame.to_ndarray(format='rgb24') for frame in frames]
            self.rate, self.aspect = film.average_rate, film.sample_aspect_ratio or 1
            self.size = (film.width, film.height)
        self.sound, self.coders = {}, []
        with av.open(str(path)) as container:
            self.coders = [sound.codec_context.name for sound in container.streams.audio]
            for packet in container.demux() if self.coders else ():
                if packet.stream.type == 'audio' and packet.size:
                    kept = (packet.pts * packet.time_base, bytes(packet))
                    self.sound.setdefault(packet.stream.index, []).append(kept)


def tones(av, path: Path) -> list[tuple[float, float, float]]:
    """Of each sound: where it begins, how long it is, in seconds, and its tone in hertz."""
    found = []
    with av.open(str(path)) as container:
        for i in range(len(container.streams.audio)):
            container.seek(0)
            frames = list(container.decode(audio=i))
            wave = np.concatenate([frame.to_ndarray()[:1, ::1 if frame.format.is_planar else 2] for frame in frames], 1)
            rate = frames[0].sample_rate
            tone = np.abs(np.fft.rfft(wave[0].astype(float))).argmax() * rate / wave.shape[1]
            found.append((float(frames[0].pts * frames[0].time_base), wave.shape[1] / rate, float(tone)))
    return found


def wanted(translator: Translator, pictures, codes) -> list[np.ndarray]:
    """What translating each decoded picture by itself gives, with one code (1, …) or each with its own."""
    codes = codes.expand(len(pictures), *codes.shape[1:])
    images = [Transform()(Image.fromarray(picture))[None] for picture in pictures]
    return [to_bytes(to_picture(translator.translate(image, code[None])))[0].numpy()
            for image, code in zip(images, codes, strict=True)]


def away(one, other) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def check_pictures(seen: list[np.ndarray], meant: list[np.ndarray], room: float = 8.0) -> None:
    """Each is what it is meant to be, within what a coder loses, and nearer to it than to any of the others."""
    assert [picture.shape for picture in seen] == [picture.shape for picture in meant]
    for i, picture in enumerate(seen):
        distances = [away(picture, other) for other in meant]
        assert distances[i] < room and distances[i] == min(distances), (i, distances)


def run(model: dict, source: Path, output: Path, *others, status: int = 0, **changes) -> None:
    with pytest.raises(SystemExit) as exit_info:
        run_command(lambda: video_command.main([*flags(model, input=source, output=output, **changes),
                                                '--full_colour', *map(str, others)]))
    assert exit_info.value.code == status


# -- a film ---------------------------------------------------------------------------------------------------------

UNEVEN = [3000, 4001, 5002, 9000, 9001, 12000, 15015]
KINDS = {
    'clip.mp4': {},
    'uneven.mov': {'times': UNEVEN},                                          # late, and of no one rate
    'odd.mp4': {'size': (63, 47), 'pixels': 'yuv444p'},
    'odd.webm': {'size': (63, 47), 'coder': 'libvpx-vp9', 'sounds': ('libopus',)},
    'long sound.mkv': {'seconds': 1.5, 'sounds': ('aac', 'flac')},            # of which both are kept
    'silent.mp4': {'sounds': (), 'aspect': Fraction(16, 11), 'tick': Fraction(1, 25), 'rate': 25, 'times': range(9)},
    'still.m4v': {'times': [0]},
    'deep.mkv': {'pixels': 'yuv420p10le', 'aspect': Fraction(4, 3)},
    'grey.mp4': {'pixels': 'gray'},
}


@pytest.mark.parametrize('name', KINDS)
def test_frames_times_and_sound_are_those_of_the_input(av, model, translator, tmp_path, capsys, name):
    source = write(av, tmp_path / name, **KINDS[name])
    run(model, source, tmp_path / 'out' / name, seed=3, crf=4)
    before, after = Seen(av, source), Seen(av, tmp_path / 'out' / name)
    assert after.size == before.size and after.times == before.times and after.rate == before.rate
    assert after.aspect == before.aspect
    assert after.sound == before.sound and after.coders == before.coders
    check_pictures(after.pictures, wanted(translator, before.pictures, style_of(3)), 12 if 'webm' in name else 8)
    assert len(before.pictures) == len(KINDS[name].get('times', range(FRAMES)))
    out = capsys.readouterr().out
    assert f'wrote {len(before.pictures)} frames' in out and 'frames/s' in out
    assert out.count('copied') == len(before.coders)
    assert [path.name for path in (tmp_path / 'out').iterdir()] == [name]


def test_the_usual_file_has_one_colour_for_four_pixels_and_full_light(av, model, translator, tmp_path):
    source = write(av, tmp_path / 'clip.mp4', sounds=())
    video_command.main(flags(model, input=source, output=tmp_path / 'out.mp4', seed=3, crf=4))
    with av.open(str(tmp_path / 'out.mp4')) as container:
        film = container.streams.video[0]
        assert (film.pix_fmt, film.codec_context.name) == ('yuv420p', 'h264')
    before, after = Seen(av, source), Seen(av, tmp_path / 'out.mp4')
    lights = [[np.array(Image.fromarray(picture).convert('L')) for picture in pictures]
              for pictures in (after.pictures, wanted(translator, before.pictures, style_of(3)))]
    check_pictures(*lights)


def test_the_style_is_that_of_test_py(av, model, translator, tmp_path):
    source = write(av, tmp_path / 'clip.mp4', sounds=())
    first = Seen(av, source).pictures[0]
    Image.fromarray(first).save(tmp_path / 'first.png')
    for given in ({'seed': 7}, {'style': model['inputs'] / '1.png'}, {'style_code': CODE}):
        run(model, source, tmp_path / 'out.mp4', save_styles=tmp_path / 'film.txt', crf=4, **given)
        test_command.main(flags(model, input=tmp_path / 'first.png', output_folder=tmp_path / 'one', num_style=1,
                                new_size=0, save_styles=tmp_path / 'one.txt', **given) if 'style' not in given else
                          flags(model, input=tmp_path / 'first.png', output_folder=tmp_path / 'one',
                                save_styles=tmp_path / 'one.txt', **given))
        assert (tmp_path / 'film.txt').read_text() == (tmp_path / 'one.txt').read_text()
        code = read_codes(tmp_path / 'film.txt', 8, '')
        check_pictures(Seen(av, tmp_path / 'out.mp4').pictures[:1], wanted(translator, [first], code))


def turned(path: Path, matrix: tuple[int, ...]) -> None:
    """Write into an MP4 how it is to be turned, as phones do."""
    content = bytearray(path.read_bytes())
    place = content.index(b'tkhd') + 44
    a, b, c, d = (65536 * value for value in matrix)
    content[place:place + 36] = struct.pack('>9i', a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


@pytest.mark.parametrize('matrix, upright', [
    ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),
    ((-1, 0, 0, -1), lambda picture: np.rot90(picture, 2)),
    ((0, -1, 1, 0), lambda picture: np.rot90(picture)),
    ((-1, 0, 0, 1), lambda picture: picture[:, ::-1]),
])
def test_a_phones_film_is_translated_and_written_upright(av, model, translator, tmp_path, matrix, upright):
    source = write(av, tmp_path / 'clip.mp4', aspect=Fraction(4, 3))
    turned(source, matrix)
    before = Seen(av, source)
    run(model, source, tmp_path / 'out.mp4', seed=1, crf=4)
    after = Seen(av, tmp_path / 'out.mp4')
    check_pictures(after.pictures, wanted(translator, [upright(picture).copy() for picture in before.pictures],
                                          style_of(1)))
    assert after.aspect == (Fraction(3, 4) if matrix[0] == 0 else Fraction(4, 3))
    with av.open(str(tmp_path / 'out.mp4')) as container:
        assert not any(data.type.name == 'DISPLAYMATRIX' for data in next(container.decode(video=0)).side_data)


@pytest.mark.parametrize('name, coder, pixels', [('clip.mov', 'qtrle', 'argb'),
                                                 ('clip.webm', 'libvpx-vp9', 'yuva420p')])
def test_what_is_transparent_is_white(av, tmp_path, name, coder, pixels):
    values = np.zeros((48, 64, 4), np.uint8)
    values[:, :32], values[:, 32:] = (255, 0, 0, 255), (0, 0, 255, 0)
    with av.open(str(tmp_path / name), 'w') as container:
        stream = container.add_stream(coder, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        stream.metadata['alpha_mode'] = '1'
        container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format='rgba').reformat(format=pixels)))
        container.mux(stream.encode(None))
    film = open_film(tmp_path / name, '--input')
    picture = np.array(next(iter(film)).image).astype(int)
    film.close()
    assert np.abs(picture[:, :28] - (255, 0, 0)).max() < 8 and np.abs(picture[:, 36:] - 255).max() < 8


def test_a_model_of_grey_images_takes_and_gives_video(av, tmp_path):
    model = make_model(tmp_path / 'model', input_dim_a=1, input_dim_b=1) if (tmp_path / 'model').mkdir() is None else 0
    grey = make_translator(load_config(model['config']), model['checkpoint'], True, 'MUNIT', torch.device('cpu'))
    source = write(av, tmp_path / 'clip.mp4')
    run(model, source, tmp_path / 'out.mp4', seed=1, crf=4)
    meant = [to_bytes(to_picture(grey.translate(Transform()(Image.fromarray(picture).convert('L'))[None],
                                                style_of(1))))[0].expand(-1, -1, 3).numpy()
             for picture in Seen(av, source).pictures]
    check_pictures(Seen(av, tmp_path / 'out.mp4').pictures, meant)


def test_new_size_is_that_of_the_networks_and_the_output_has_the_frames_own(av, model, tmp_path, monkeypatch):
    shapes, translate = [], Translator.translate_batch
    monkeypatch.setattr(Translator, 'translate_batch', lambda self, images, *arguments: (
        shapes.append(images.shape) or translate(self, images, *arguments)))
    source = write(av, tmp_path / 'clip.mp4', size=(96, 64))
    run(model, source, tmp_path / 'small.mp4', new_size=32, seed=1, crf=4)
    assert {shape[2:] for shape in shapes} == {(32, 48)}
    run(model, source, tmp_path / 'whole.mp4', seed=1, crf=4)
    small, whole = Seen(av, tmp_path / 'small.mp4'), Seen(av, tmp_path / 'whole.mp4')
    assert small.size == whole.size == (96, 64) and small.times == whole.times
    assert away(small.pictures[0], whole.pictures[0]) > 1


def test_new_size_leaves_the_frames_of_a_folder_their_own_sizes(model, tmp_path):
    make_frames(tmp_path / 'in', ['1.png', '2.png'])
    run(model, tmp_path / 'in', tmp_path / 'out', new_size=32)
    for name in ('1.png', '2.png'):
        assert Image.open(tmp_path / 'out' / name).size == Image.open(tmp_path / 'in' / name).size


# -- sound ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('source, sound, output, coders', [
    ('clip.mkv', 'aac', 'out.webm', ['opus']),
    ('clip.avi', 'pcm_s16le', 'out.mp4', ['aac']),     # refused at the end of the file alone
    ('clip.avi', 'libmp3lame', 'out.mkv', ['mp3float']),
    ('clip.mkv', 'flac', 'out.mov', ['aac']),
])
def test_sound_that_the_container_cannot_hold_is_coded_anew_and_stays_in_step(av, model, tmp_path, capsys, source,
                                                                              sound, output, coders):
    late = 0.0 if source.endswith('.avi') else 0.3
    write(av, tmp_path / source, coder='mpeg4' if late == 0 else 'libx264', tick=Fraction(1, 25), rate=25,
          times=range(20), sounds=(sound, sound), seconds=0.7, sound_at=late)
    run(model, tmp_path / source, tmp_path / output)
    assert Seen(av, tmp_path / output).coders == 2 * coders
    before, after = tones(av, tmp_path / source), tones(av, tmp_path / output)
    for number, (old, new) in enumerate(zip(before, after, strict=True), start=1):
        assert new[0] == pytest.approx(old[0], abs=0.03) and new[1] == pytest.approx(old[1], abs=0.06)
        assert new[2] == pytest.approx(440 * number, abs=3)
    assert capsys.readouterr().out.count('copied' if sound == 'libmp3lame' else 'coded anew') == 2


def test_a_broadcast_begins_at_nought_with_its_sound_in_step(av, model, tmp_path):
    source = write(av, tmp_path / 'clip.ts', seconds=0.5)
    run(model, source, tmp_path / 'out.mp4')
    before, after = Seen(av, source), Seen(av, tmp_path / 'out.mp4')
    sound_before, sound_after = ([time for time, _ in next(iter(seen.sound.values()))] for seen in (before, after))
    assert before.times[0] > 0 and min(after.times[0], sound_after[0]) == pytest.approx(0, abs=0.022)
    assert [time - after.times[0] for time in after.times] == [time - before.times[0] for time in before.times]
    assert after.times[0] - sound_after[0] == pytest.approx(before.times[0] - sound_before[0], abs=1e-4)


def test_matroskas_milliseconds_become_the_rate_that_they_were_rounded_from(av, model, tmp_path):
    source = write(av, tmp_path / 'clip.mkv')
    run(model, source, tmp_path / 'out.mp4')
    before, after = Seen(av, source), Seen(av, tmp_path / 'out.mp4')
    assert before.times[1] == Fraction(33, 1000) and after.times == [i / NTSC for i in range(FRAMES)]
    assert before.rate == after.rate == NTSC


# -- a walk ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('others, places', [
    ([], [Fraction(time - UNEVEN[0], UNEVEN[-1] - UNEVEN[0]) * 2 for time in UNEVEN]),
    (['--there_and_back'], [2 * (1 - abs(1 - 2 * Fraction(time - UNEVEN[0], UNEVEN[-1] - UNEVEN[0])))
                            for time in UNEVEN]),
])
def test_a_walk_is_even_in_time_and_ends_at_its_styles(av, model, translator, tmp_path, others, places):
    source = write(av, tmp_path / 'clip.mp4', times=UNEVEN, same=True)
    run(model, source, tmp_path / 'out.mp4', '--walk', 3, CODE, model['inputs'] / '1.png', *others, crf=4,
        save_styles=tmp_path / 'stations.txt')
    stations = read_codes(tmp_path / 'stations.txt', 8, '')
    assert len(stations) == 3 and torch.equal(stations[:1], style_of(3))
    codes = [slerp(stations[min(1, int(place))], stations[min(1, int(place)) + 1],
                   float(place - min(1, int(place)))) for place in places]
    meant = wanted(translator, Seen(av, source).pictures, torch.stack(codes))
    seen = Seen(av, tmp_path / 'out.mp4')
    assert all(away(picture, other) < 4 for picture, other in zip(seen.pictures, meant, strict=True))
    ends = wanted(translator, Seen(av, source).pictures[:1], stations[:1]) + wanted(
        translator, Seen(av, source).pictures[-1:], stations[:1] if others else stations[2:])
    assert away(seen.pictures[0], ends[0]) < 4 and away(seen.pictures[-1], ends[1]) < 4
    assert away(meant[0], meant[3]) > 8     # or nothing was shown


# -- animated pictures ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('source, output, room', [('clip.gif', 'out.gif', 10), ('clip.webp', 'out.webp', 1),
                                                  ('clip.png', 'out.mp4', 4)])
def test_animated_pictures_are_films(av, model, translator, tmp_path, source, output, room):
    images = [Image.fromarray(scene(4 * i, 41, 33)) for i in range(4)]
    images[0].save(tmp_path / source, save_all=True, append_images=images[1:], duration=[30, 50, 100, 40],
                   **({'lossless': True} if source.endswith('webp') else {}))
    run(model, tmp_path / source, tmp_path / output, seed=2, crf=4)
    films = [open_film(tmp_path / name, '--input') for name in (source, output)]
    before, after = ([item for item in film] for film in films)
    assert [picture.time * films[1].tick for picture in after] == [Fraction(time, 1000) for time in (0, 30, 80, 180)]
    check_pictures([np.array(picture.image) for picture in after],
                   wanted(translator, [np.array(picture.image) for picture in before], style_of(2)), room)
    for film in films:
        film.close()


# -- a folder of frames -----------------------------------------------------------------------------------------------

def make_frames(folder: Path, names, same=False) -> Path:
    for i, name in enumerate(names):
        save_noise(folder / name, (64, 48) if i % 3 else (40, 40), seed=0 if same else i)
    return folder


def test_a_folder_keeps_names_and_sizes_and_is_walked_through_in_natural_order(model, translator, tmp_path,
                                                                               monkeypatch):
    monkeypatch.setitem(sys.modules, 'av', None)
    names = ['f1.png', 'f2.png', 'f9.png', 'f10.png', 'more/f1.bmp']
    source = make_frames(tmp_path / 'in', names)
    run(model, source, tmp_path / 'out', '--walk', 3, 8)
    assert sorted(str(path.relative_to(tmp_path / 'out')) for path in (tmp_path / 'out').rglob('*.*')) == sorted(names)
    for i, name in enumerate(names):
        given, output = (np.array(Image.open(folder / name)) for folder in (source, tmp_path / 'out'))
        code = slerp(style_of(3), style_of(8), i / 4)
        assert output.shape == given.shape
        assert np.abs(output.astype(int) - wanted(translator, [given], code)[0]).max() <= 1


def test_equal_frames_give_equal_outputs_whatever_the_batch(model, tmp_path):
    for i in range(5):
        save_noise(tmp_path / 'in' / f'{i}.png', seed=3)
    for size, workers in ((2, 2), (1, 0)):
        run(model, tmp_path / 'in', tmp_path / f'out{size}', batch_size=size, num_workers=workers)
    pictures = [np.array(Image.open(path)).astype(int) for path in (tmp_path / 'out1').iterdir()]
    assert all((picture == pictures[0]).all() for picture in pictures)
    others = [np.array(Image.open(path)).astype(int) for path in (tmp_path / 'out2').iterdir()]
    assert len(others) == 5 and all(np.abs(picture - pictures[0]).max() <= 1 for picture in others)


def test_a_frame_that_cannot_be_read_is_named_and_changes_no_other(model, tmp_path, capsys):
    names = [f'{i}.png' for i in range(4)]
    run(model, make_frames(tmp_path / 'in', names), tmp_path / 'all', '--walk', 1, 2)
    (tmp_path / 'in' / '1.png').write_bytes(b'no picture')
    run(model, tmp_path / 'in', tmp_path / 'rest', '--walk', 1, 2, status=2)
    error = capsys.readouterr().err
    assert '1.png: cannot be read' in error and '1 of 4 frames could not be read' in error
    assert sorted(path.name for path in (tmp_path / 'rest').iterdir()) == ['0.png', '2.png', '3.png']
    for path in (tmp_path / 'rest').iterdir():
        assert np.abs(np.array(Image.open(path)).astype(int) -
                      np.array(Image.open(tmp_path / 'all' / path.name)).astype(int)).max() <= 1


@pytest.mark.parametrize('others', [{}, {'encoder_noise': True}])
def test_unit_translates_films_without_flicker(tmp_path, others):
    config = config_with(data_root='nowhere', **UNIT, gen={'n_res': 1})
    (tmp_path / 'config.yaml').write_text(yaml.safe_dump(config))
    gens = {name: VAEGen(3, config['gen']) for name in 'ab'}
    for name, gen in gens.items():
        fill(gen, f'gen_{name}')
    torch.save({name: gen.state_dict() for name, gen in gens.items()}, tmp_path / 'gen.pt')
    model = {'config': tmp_path / 'config.yaml', 'checkpoint': tmp_path / 'gen.pt', 'device': 'cpu', 'trainer': 'UNIT'}
    for i in range(3):
        save_noise(tmp_path / 'in' / f'{i}.png', seed=3)
    flag = ['--encoder_noise'] if others else []
    for seed in (1, 2):
        run(model, tmp_path / 'in', tmp_path / f'out{seed}', *flag, seed=seed, batch_size=2)
    first, second = ([np.array(Image.open(tmp_path / f'out{seed}' / f'{i}.png')).astype(int) for i in range(3)]
                     for seed in (1, 2))
    assert all(np.abs(picture - first[0]).max() <= 1 for picture in first)
    assert (np.abs(first[0] - second[0]).max() > 1) == bool(others)


# -- broken and refused -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize('ending', ['.mp4', '.mkv'])
def test_of_a_film_that_is_cut_off_what_can_be_read_is_kept(av, model, translator, tmp_path, capsys, ending):
    options = {'options': {'movflags': 'faststart'}} if ending == '.mp4' else {}
    source = write(av, tmp_path / f'clip{ending}', times=range(0, 1001 * 40, 1001), seconds=1.3, **options)
    content = source.read_bytes()
    source.write_bytes(content[:len(content) * 6 // 10])
    run(model, source, tmp_path / f'out{ending}', seed=1, crf=4, status=2)
    (line,) = capsys.readouterr().err.splitlines()
    before, after = Seen(av, source), Seen(av, tmp_path / f'out{ending}')
    assert f'the {len(after.pictures)} frames that could be read are in' in line and 'ends after' in line
    both = min(len(after.pictures), len(before.pictures))   # PyAV itself drops the last ones, in some versions
    assert 10 < len(before.pictures) <= len(after.pictures) < 38 and after.times[:both] == before.times[:both]
    assert away(after.pictures[both - 1], wanted(translator, before.pictures[both - 1:both], style_of(1))[0]) < 8


def test_packets_that_cannot_be_decoded_are_counted(av, model, tmp_path, capsys):
    source = write(av, tmp_path / 'clip.mkv', times=range(0, 1001 * 40, 1001), sounds=())
    content = bytearray(source.read_bytes())
    for place in np.random.RandomState(0).randint(len(content) // 3, len(content), 40):
        content[place] ^= 255
    source.write_bytes(content)
    run(model, source, tmp_path / 'out.mkv', status=2)
    (line,) = capsys.readouterr().err.splitlines()
    assert 'clip.mkv: ' in line and 'frames that could be read' in line
    assert len(Seen(av, tmp_path / 'out.mkv').pictures) <= 40


def broken_film(av, folder: Path, kind: str) -> Path:
    path = folder / {'a list': 'list.m3u8', 'a chain': 'list.txt', 'a picture': 'still.png'}.get(kind, 'bad.mp4')
    whole = write(av, folder / 'whole.mp4')
    if kind == 'sound alone':
        with av.open(str(whole)) as film, av.open(str(path), 'w') as alone:
            stream = alone.add_stream_from_template(film.streams.audio[0])
            for packet in film.demux(film.streams.audio[0]):
                if packet.size:
                    packet.stream = stream
                    alone.mux(packet)
    elif kind == 'a picture':
        save_noise(path)
    else:
        path.write_bytes({'nothing': b'', 'noise': os.urandom(4000), 'text': b'hello\n' * 99,
                          'without its index': whole.read_bytes()[:2000],
                          'a chain': b'ffconcat version 1.0\nfile whole.mp4\n',
                          'a list': f'#EXTM3U\n#EXTINF:9,\n{whole}\n#EXT-X-ENDLIST\n'.encode()}[kind])
    return path


@pytest.mark.parametrize('kind, words', [
    ('nothing', 'not a video, or broken'), ('noise', 'not a video, or broken'), ('text', 'not a video, or broken'),
    ('without its index', 'not a video, or broken'), ('a list', 'not a video, or broken'),
    ('a chain', 'not a video, or broken'),
    ('sound alone', 'holds no video, sound alone'), ('a picture', 'test.py translates pictures'),
])
def test_what_is_no_film_is_one_line_and_nothing_is_written(av, model, tmp_path, capsys, kind, words):
    source = broken_film(av, tmp_path, kind)
    line = complaint(capsys, video_command.main, *flags(model, input=source, output=tmp_path / 'new' / 'out.mp4'))
    assert words in line and f'--input {source}' in line
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize('others, words', [
    (['--output', 'OUT/out.avi'], '--output'),
    (['--output', 'OUT/clip.mp4', '--walk', '3'], 'a walk has two at least'),
    (['--output', 'OUT/clip.mp4', '--walk', '3', '4', '--style_code', CODE], '--walk: not together with --style_code'),
    (['--output', 'OUT/clip.mp4', '--there_and_back'], '--there_and_back'),
    (['--output', 'OUT/clip.mp4', '--style_code', 'TWO'], '2 codes, a video has one style'),
    (['--output', 'OUT/clip.mp4', '--crf', '52'], '--crf'),
    (['--output', 'OUT/clip.mp4', '--max_image_pixels', '999'], 'more than --max_image_pixels 999'),
    (['--output', 'OUT/clip.mp4', '--new_size', '99999'], 'the shorter side resized to 99999'),
    (['--output', 'IN/clip.mp4'], 'is the input'),
    (['--output', 'IN'], 'is the input'),
    (['--output', 'IN/link.mp4'], 'is the input'),
    (['--output', ''], 'an empty text'),
])
def test_refusals_are_one_line_and_write_nothing(av, model, tmp_path, capsys, others, words):
    (tmp_path / 'in').mkdir()
    source = write(av, tmp_path / 'in' / 'clip.mp4')
    content = source.read_bytes()
    (tmp_path / 'in' / 'link.mp4').symlink_to(source)
    (tmp_path / 'two.txt').write_text(f'{CODE}\n{CODE}\n')
    places = {'OUT': str(tmp_path / 'out'), 'IN': str(tmp_path / 'in'), 'TWO': str(tmp_path / 'two.txt')}
    given = [word.replace(name, place) if word.startswith(name) else word for word in others
             for name, place in [next(((n, p) for n, p in places.items() if word.startswith(n)), ('', ''))]]
    assert words in complaint(capsys, video_command.main, *flags(model, input=source), *given)
    assert not (tmp_path / 'out').exists() and source.read_bytes() == content
    assert sorted(path.name for path in (tmp_path / 'in').iterdir()) == ['clip.mp4', 'link.mp4']


@pytest.mark.parametrize('output, words', [('in', 'lies in --input'), ('in/deeper', 'lies in --input'),
                                           ('out.mp4', 'becomes a folder of frames')])
def test_a_folder_is_not_mixed_with_its_outputs(model, tmp_path, capsys, output, words):
    make_frames(tmp_path / 'in', ['1.png'])
    line = complaint(capsys, video_command.main, *flags(model, input=tmp_path / 'in', output=tmp_path / output))
    assert words in line and [path.name for path in tmp_path.rglob('*')] == ['in', '1.png']


def test_without_pyav_a_film_is_one_line(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'av', None)
    (tmp_path / 'clip.mp4').write_bytes(b'anything')
    line = complaint(capsys, video_command.main, *flags(model, input=tmp_path / 'clip.mp4', output=tmp_path / 'o.mp4'))
    assert 'pip install -r requirements/demo.txt' in line
    assert [path.name for path in tmp_path.iterdir()] == ['clip.mp4']


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no device that is always full')
@pytest.mark.parametrize('ending', ['.mp4', '.mkv', '.webp'])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(av, model, tmp_path, capsys, ending):
    source = write(av, tmp_path / 'clip.mp4')
    output = tmp_path / 'out' / f'clip{ending}'
    output.parent.mkdir()
    output.write_bytes(b'what was there')
    output.with_name(f'clip.part{ending}').symlink_to('/dev/full')
    line = complaint(capsys, video_command.main, *flags(model, input=source, output=output))
    assert line == f'{output}: cannot be written (No space left on device)'
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    assert output.read_bytes() == b'what was there'


def test_ctrl_c_leaves_no_half_file(av, model, tmp_path, monkeypatch):
    source = write(av, tmp_path / 'clip.mp4', times=range(0, 1001 * 30, 1001))
    calls, translate = itertools.count(), Translator.translate_batch

    def interrupted(self, *arguments):
        if next(calls) == 2:
            assert (tmp_path / 'out' / 'clip.part.mp4').exists()
            raise KeyboardInterrupt
        return translate(self, *arguments)

    monkeypatch.setattr(Translator, 'translate_batch', interrupted)
    run(model, source, tmp_path / 'out' / 'clip.mp4', status=130)
    assert not list((tmp_path / 'out').iterdir())


def test_a_long_film_is_read_no_further_than_it_is_translated(model):
    taken = itertools.count()
    opts = video_command.parse_arguments(flags(model, input='x', output='y', batch_size=4, num_workers=1))
    frames = (video_command.Frame(torch.zeros(3, 64, 64), (64, 64), place=next(taken)) for _ in range(10_000))
    batches = video_command.batches(video_command.ahead(frames, opts, 8), opts)
    assert [frame.place for frame in next(batches)] == [0, 1, 2, 3]
    batches.close()
    assert next(taken) < 4 + 8 + 4
    opts = video_command.parse_arguments(flags(model, input='x', output='y', batch_size=8))
    assert [video_command.together(opts, *size) for size in ((64, 64), (256, 256), (512, 512), (3840, 2160), (0, 0))
            ] == [8, 8, 2, 1, 1]


def test_the_input_keeps_its_name_in_a_folder_and_an_old_output_is_replaced(av, model, tmp_path):
    source = write(av, tmp_path / 'clip.mp4', times=[0, 1001])
    shutil.copy(source, tmp_path / 'clip.ts')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'clip.mp4').write_bytes(b'old')
    for name, output in (('clip.mp4', 'out'), ('clip.ts', 'out'), ('clip.mp4', 'new/deep')):
        run(model, tmp_path / name, tmp_path / output)
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['clip.mkv', 'clip.mp4']
    assert len(Seen(av, tmp_path / 'out' / 'clip.mp4').pictures) == 2
    assert (tmp_path / 'new' / 'deep' / 'clip.mp4').exists()
