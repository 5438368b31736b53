"""Tests of video.py: frames, times and audio packets of its outputs, and its error messages."""
import contextlib
import enum
import itertools
import os
import shutil
import struct
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

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
from extras.video.reader import is_cover, open_video
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
    """Return the i-th frame (height, width, 3) of a test video, which is smooth, so that it compresses well."""
    y, x = np.mgrid[:height, :width]
    waves = [128 + 90 * np.sin((x + 4 * i) / 9), 128 + 90 * np.cos((y - 3 * i) / 11), 60 + (x + 2 * y + 8 * i) % 97]
    return np.stack(waves, 2).astype(np.uint8)


def write(av, path: Path, size=(64, 48), times=range(0, 1001 * FRAMES, 1001), tick=Fraction(1, 30000), rate=NTSC,
          codec='libx264', pixels='yuv420p', aspect=None, sounds=('aac',), seconds=0.4, sound_at=0.0, same=False,
          **options) -> Path:
    """Write a video of `scene`s at the given times, with a sine tone in each audio stream."""
    with av.open(str(path), 'w', **options) as container:
        video = container.add_stream(codec, rate=rate)
        video.width, video.height, video.pix_fmt = *size, pixels
        video.codec_context.time_base = tick
        if aspect:
            video.codec_context.sample_aspect_ratio = aspect
        tones = []
        for name in sounds:
            tones.append(container.add_stream(name, rate=48000))
            tones[-1].layout, tones[-1].bit_rate = 'stereo', 128_000
        container.start_encoding()
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(scene(0 if same else i, *size)).reformat(format=pixels)
            frame.pts, frame.time_base = time, tick
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for number, tone in enumerate(tones, start=1):
            for start in range(0, round(seconds * 48000), 1024):
                wave = 0.4 * np.sin(2 * np.pi * 440 * number * np.arange(start, start + 1024) / 48000)
                frame = av.AudioFrame.from_ndarray(np.tile(wave.astype(np.float32), (2, 1)), 'fltp', 'stereo')
                frame.sample_rate, frame.time_base = 48000, Fraction(1, 48000)
                frame.pts = start + round(sound_at * 48000)
                container.mux(tone.encode(frame))
            container.mux(tone.encode(None))
    return path


class VideoContent:
    """The content of a video: its frames, their times in seconds, its audio packets and its properties."""

    def __init__(self, av, path: Path):
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            frames = []
            with contextlib.suppress(av.error.InvalidDataError):   # truncated file
                frames.extend(container.decode(video))
            self.times = [frame.pts * video.time_base for frame in frames]
            self.images = [frame.to_ndarray(format='rgb24') for frame in frames]
            self.rate, self.aspect = video.average_rate, video.sample_aspect_ratio or 1
            self.size = (video.width, video.height)
        self.sound, self.audio_codecs = {}, []
        with av.open(str(path)) as container:
            self.audio_codecs = [sound.codec_context.name for sound in container.streams.audio]
            for packet in container.demux() if self.audio_codecs else ():
                if packet.stream.type == 'audio' and packet.size:
                    kept = (packet.pts * packet.time_base, bytes(packet))
                    self.sound.setdefault(packet.stream.index, []).append(kept)


def audio_tones(av, path: Path) -> list[tuple[float, float, float]]:
    """Return the start and the duration in seconds and the frequency in hertz of each audio stream."""
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


def expected_outputs(translator: Translator, pictures, codes) -> list[np.ndarray]:
    """Translate decoded frames one by one, with one style code (1, ...) or one per frame."""
    codes = codes.expand(len(pictures), *codes.shape[1:])
    images = [Transform()(Image.fromarray(picture))[None] for picture in pictures]
    return [to_bytes(to_picture(translator.translate(image, code[None])))[0].numpy()
            for image, code in zip(images, codes, strict=True)]


def mean_difference(one, other) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def check_pictures(seen: list[np.ndarray], expected: list[np.ndarray], tolerance: float = 8.0) -> None:
    """Assert that each frame is equal to the expected one up to compression, and closer to it than to all others."""
    assert [picture.shape for picture in seen] == [picture.shape for picture in expected]
    for i, picture in enumerate(seen):
        distances = [mean_difference(picture, other) for other in expected]
        assert distances[i] < tolerance and distances[i] == min(distances), (i, distances)


def run(model: dict, source: Path, output: Path, *others, status: int = 0, **changes) -> None:
    with pytest.raises(SystemExit) as exit_info:
        run_command(lambda: video_command.main([*flags(model, input=source, output=output, **changes),
                                                '--full_colour', *map(str, others)]))
    assert exit_info.value.code == status


# -- videos -----------------------------------------------------------------------------------------------------------

UNEVEN = [3000, 4001, 5002, 9000, 9001, 12000, 15015]
KINDS = {
    'clip.mp4': {},
    'uneven.mov': {'times': UNEVEN},                                          # late start and variable frame rate
    'odd.mp4': {'size': (63, 47), 'pixels': 'yuv444p'},
    'odd.webm': {'size': (63, 47), 'codec': 'libvpx-vp9', 'sounds': ('libopus',)},
    'long sound.mkv': {'seconds': 1.5, 'sounds': ('aac', 'flac')},            # both streams are kept
    'silent.mp4': {'sounds': (), 'aspect': Fraction(16, 11), 'tick': Fraction(1, 25), 'rate': 25, 'times': range(9)},
    'still.m4v': {'times': [0]},
    'deep.mkv': {'pixels': 'yuv420p10le', 'aspect': Fraction(4, 3)},
    'grey.mp4': {'pixels': 'gray'},
}


@pytest.mark.parametrize('name', KINDS)
def test_frames_times_and_audio_match_the_input(av, model, translator, tmp_path, capsys, name):
    source = write(av, tmp_path / name, **KINDS[name])
    run(model, source, tmp_path / 'out' / name, seed=3, crf=4)
    before, after = VideoContent(av, source), VideoContent(av, tmp_path / 'out' / name)
    assert after.size == before.size and after.times == before.times and after.rate == before.rate
    assert after.aspect == before.aspect
    assert after.sound == before.sound and after.audio_codecs == before.audio_codecs
    check_pictures(after.images, expected_outputs(translator, before.images, style_of(3)), 12 if 'webm' in name else 8)
    assert len(before.images) == len(KINDS[name].get('times', range(FRAMES)))
    out = capsys.readouterr().out
    assert f'wrote {len(before.images)} frames' in out and 'frames/s' in out
    assert out.count('copied') == len(before.audio_codecs)
    assert [path.name for path in (tmp_path / 'out').iterdir()] == [name]


def test_the_default_output_has_4_2_0_chroma_and_full_luma_resolution(av, model, translator, tmp_path):
    source = write(av, tmp_path / 'clip.mp4', sounds=())
    video_command.main(flags(model, input=source, output=tmp_path / 'out.mp4', seed=3, crf=4))
    with av.open(str(tmp_path / 'out.mp4')) as container:
        video = container.streams.video[0]
        assert (video.pix_fmt, video.codec_context.name) == ('yuv420p', 'h264')
    before, after = VideoContent(av, source), VideoContent(av, tmp_path / 'out.mp4')
    luma = [[np.array(Image.fromarray(picture).convert('L')) for picture in pictures]
            for pictures in (after.images, expected_outputs(translator, before.images, style_of(3)))]
    check_pictures(*luma)


def test_the_style_is_the_same_as_in_test_py(av, model, translator, tmp_path):
    source = write(av, tmp_path / 'clip.mp4', sounds=())
    first = VideoContent(av, source).images[0]
    Image.fromarray(first).save(tmp_path / 'first.png')
    for given in ({'seed': 7}, {'style': model['inputs'] / '1.png'}, {'style_code': CODE}):
        run(model, source, tmp_path / 'out.mp4', save_styles=tmp_path / 'video.txt', crf=4, **given)
        test_command.main(flags(model, input=tmp_path / 'first.png', output_folder=tmp_path / 'one', num_style=1,
                                new_size=0, save_styles=tmp_path / 'one.txt', **given) if 'style' not in given else
                          flags(model, input=tmp_path / 'first.png', output_folder=tmp_path / 'one',
                                save_styles=tmp_path / 'one.txt', **given))
        assert (tmp_path / 'video.txt').read_text() == (tmp_path / 'one.txt').read_text()
        code = read_codes(tmp_path / 'video.txt', 8, '')
        check_pictures(VideoContent(av, tmp_path / 'out.mp4').images[:1], expected_outputs(translator, [first], code))


def set_display_matrix(path: Path, matrix: tuple[int, ...]) -> None:
    """Set the display matrix of an MP4 file, as phones do."""
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
def test_a_rotated_video_is_translated_and_written_upright(av, model, translator, tmp_path, matrix, upright):
    source = write(av, tmp_path / 'clip.mp4', aspect=Fraction(4, 3))
    set_display_matrix(source, matrix)
    before = VideoContent(av, source)
    run(model, source, tmp_path / 'out.mp4', seed=1, crf=4)
    after = VideoContent(av, tmp_path / 'out.mp4')
    check_pictures(after.images, expected_outputs(translator, [upright(picture).copy() for picture in before.images],
                                                  style_of(1)))
    assert after.aspect == (Fraction(3, 4) if matrix[0] == 0 else Fraction(4, 3))
    with av.open(str(tmp_path / 'out.mp4')) as container:
        assert not any(data.type.name == 'DISPLAYMATRIX' for data in next(container.decode(video=0)).side_data)


def test_transparent_pixels_are_white(av, tmp_path):
    values = np.zeros((48, 64, 4), np.uint8)
    values[:, :32], values[:, 32:] = (255, 0, 0, 255), (0, 0, 255, 0)
    with av.open(str(tmp_path / 'clip.mov'), 'w') as container:
        stream = container.add_stream('qtrle', rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'argb'
        container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format='rgba').reformat(format='argb')))
        container.mux(stream.encode(None))
    video = open_video(tmp_path / 'clip.mov', '--input')
    picture = np.array(next(iter(video)).image).astype(int)
    video.close()
    assert np.abs(picture[:, :28] - (255, 0, 0)).max() < 8 and np.abs(picture[:, 36:] - 255).max() < 8


def test_a_model_of_grey_images_translates_video(av, tmp_path):
    model = make_model(tmp_path / 'model', input_dim_a=1, input_dim_b=1) if (tmp_path / 'model').mkdir() is None else 0
    grey = make_translator(load_config(model['config']), model['checkpoint'], True, 'MUNIT', torch.device('cpu'))
    source = write(av, tmp_path / 'clip.mp4')
    run(model, source, tmp_path / 'out.mp4', seed=1, crf=4)
    expected = [to_bytes(to_picture(grey.translate(Transform()(Image.fromarray(picture).convert('L'))[None],
                                                   style_of(1))))[0].expand(-1, -1, 3).numpy()
             for picture in VideoContent(av, source).images]
    check_pictures(VideoContent(av, tmp_path / 'out.mp4').images, expected)


def test_new_size_applies_to_the_networks_and_outputs_keep_the_size_of_the_frames(av, model, tmp_path, monkeypatch):
    shapes, translate = [], Translator.translate_batch
    monkeypatch.setattr(Translator, 'translate_batch', lambda self, images, *arguments: (
        shapes.append(images.shape) or translate(self, images, *arguments)))
    source = write(av, tmp_path / 'clip.mp4', size=(96, 64))
    run(model, source, tmp_path / 'small.mp4', new_size=32, seed=1, crf=4)
    assert {shape[2:] for shape in shapes} == {(32, 48)}
    run(model, source, tmp_path / 'whole.mp4', seed=1, crf=4)
    small, whole = VideoContent(av, tmp_path / 'small.mp4'), VideoContent(av, tmp_path / 'whole.mp4')
    assert small.size == whole.size == (96, 64) and small.times == whole.times
    assert mean_difference(small.images[0], whole.images[0]) > 1


def test_new_size_keeps_the_sizes_of_the_frames_of_a_folder(model, tmp_path):
    make_frames(tmp_path / 'in', ['1.png', '2.png'])
    run(model, tmp_path / 'in', tmp_path / 'out', new_size=32)
    for name in ('1.png', '2.png'):
        assert Image.open(tmp_path / 'out' / name).size == Image.open(tmp_path / 'in' / name).size


# -- audio ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('source, sound, output, audio_codecs', [
    ('clip.mkv', 'aac', 'out.webm', ['opus']),
    ('clip.avi', 'pcm_s16le', 'out.mp4', ['aac']),     # rejected only at the end of the file
    ('clip.avi', 'libmp3lame', 'out.mkv', ['mp3float']),
    ('clip.mkv', 'flac', 'out.mov', ['aac']),
])
def test_unsupported_audio_is_re_encoded_and_stays_synchronous(av, model, tmp_path, capsys, source, sound, output,
                                                               audio_codecs):
    late = 0.0 if source.endswith('.avi') else 0.3
    write(av, tmp_path / source, codec='mpeg4' if late == 0 else 'libx264', tick=Fraction(1, 25), rate=25,
          times=range(20), sounds=(sound, sound), seconds=0.7, sound_at=late)
    run(model, tmp_path / source, tmp_path / output)
    assert VideoContent(av, tmp_path / output).audio_codecs == 2 * audio_codecs
    before, after = audio_tones(av, tmp_path / source), audio_tones(av, tmp_path / output)
    for number, (old, new) in enumerate(zip(before, after, strict=True), start=1):
        assert new[0] == pytest.approx(old[0], abs=0.03) and new[1] == pytest.approx(old[1], abs=0.06)
        assert new[2] == pytest.approx(440 * number, abs=3)
    assert capsys.readouterr().out.count('copied' if sound == 'libmp3lame' else 're-encoded') == 2


def test_a_broadcast_starts_at_zero_with_synchronous_audio(av, model, tmp_path):
    source = write(av, tmp_path / 'clip.ts', seconds=0.5)
    run(model, source, tmp_path / 'out.mp4')
    before, after = VideoContent(av, source), VideoContent(av, tmp_path / 'out.mp4')
    sound_before, sound_after = ([time for time, _ in next(iter(seen.sound.values()))] for seen in (before, after))
    assert before.times[0] > 0 and min(after.times[0], sound_after[0]) == pytest.approx(0, abs=0.022)
    assert [time - after.times[0] for time in after.times] == [time - before.times[0] for time in before.times]
    assert after.times[0] - sound_after[0] == pytest.approx(before.times[0] - sound_before[0], abs=1e-4)


# -- interpolation of styles ------------------------------------------------------------------------------------------

@pytest.mark.parametrize('others, places', [
    ([], [Fraction(time - UNEVEN[0], UNEVEN[-1] - UNEVEN[0]) * 2 for time in UNEVEN]),
    (['--there_and_back'], [2 * (1 - abs(1 - 2 * Fraction(time - UNEVEN[0], UNEVEN[-1] - UNEVEN[0])))
                            for time in UNEVEN]),
])
def test_the_interpolation_is_linear_in_time_and_ends_at_its_styles(av, model, translator, tmp_path, others, places):
    source = write(av, tmp_path / 'clip.mp4', times=UNEVEN, same=True)
    run(model, source, tmp_path / 'out.mp4', '--walk', 3, CODE, model['inputs'] / '1.png', *others, crf=4,
        save_styles=tmp_path / 'keyframes.txt')
    keyframes = read_codes(tmp_path / 'keyframes.txt', 8, '')
    assert len(keyframes) == 3 and torch.equal(keyframes[:1], style_of(3))
    codes = [slerp(keyframes[min(1, int(place))], keyframes[min(1, int(place)) + 1],
                   float(place - min(1, int(place)))) for place in places]
    expected = expected_outputs(translator, VideoContent(av, source).images, torch.stack(codes))
    seen = VideoContent(av, tmp_path / 'out.mp4')
    assert all(mean_difference(picture, other) < 4 for picture, other in zip(seen.images, expected, strict=True))
    ends = expected_outputs(translator, VideoContent(av, source).images[:1], keyframes[:1]) + expected_outputs(
        translator, VideoContent(av, source).images[-1:], keyframes[:1] if others else keyframes[2:])
    assert mean_difference(seen.images[0], ends[0]) < 4 and mean_difference(seen.images[-1], ends[1]) < 4
    assert mean_difference(expected[0], expected[3]) > 8     # otherwise the test proves nothing


# -- animated images --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('source, output, tolerance', [('clip.gif', 'out.gif', 10), ('clip.webp', 'out.webp', 1),
                                                       ('clip.png', 'out.mp4', 4)])
def test_animated_images_are_videos(av, model, translator, tmp_path, source, output, tolerance):
    images = [Image.fromarray(scene(4 * i, 41, 33)) for i in range(4)]
    images[0].save(tmp_path / source, save_all=True, append_images=images[1:], duration=[30, 50, 100, 40],
                   **({'lossless': True} if source.endswith('webp') else {}))
    run(model, tmp_path / source, tmp_path / output, seed=2, crf=4)
    videos = [open_video(tmp_path / name, '--input') for name in (source, output)]
    before, after = ([item for item in video] for video in videos)
    assert [picture.time * videos[1].tick for picture in after] == [Fraction(time, 1000) for time in (0, 30, 80, 180)]
    inputs, outputs = ([np.array(picture.image) for picture in pictures] for pictures in (before, after))
    check_pictures(outputs, expected_outputs(translator, inputs, style_of(2)), tolerance)
    for video in videos:
        video.close()


# -- a folder of frames -----------------------------------------------------------------------------------------------

def make_frames(folder: Path, names, same=False) -> Path:
    for i, name in enumerate(names):
        save_noise(folder / name, (64, 48) if i % 3 else (40, 40), seed=0 if same else i)
    return folder


def test_a_folder_keeps_names_and_sizes_and_is_sorted_in_natural_order(model, translator, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'av', None)
    names = ['f1.png', 'f2.png', 'f9.png', 'f10.png', 'more/f1.bmp']
    source = make_frames(tmp_path / 'in', names)
    run(model, source, tmp_path / 'out', '--walk', 3, 8)
    assert sorted(str(path.relative_to(tmp_path / 'out')) for path in (tmp_path / 'out').rglob('*.*')) == sorted(names)
    for i, name in enumerate(names):
        given, output = (np.array(Image.open(folder / name)) for folder in (source, tmp_path / 'out'))
        code = slerp(style_of(3), style_of(8), i / 4)
        assert output.shape == given.shape
        assert np.abs(output.astype(int) - expected_outputs(translator, [given], code)[0]).max() <= 1


def test_equal_frames_give_equal_outputs_for_all_batch_sizes(model, tmp_path):
    for i in range(5):
        save_noise(tmp_path / 'in' / f'{i}.png', seed=3)
    for size, workers in ((2, 2), (1, 0)):
        run(model, tmp_path / 'in', tmp_path / f'out{size}', batch_size=size, num_workers=workers)
    pictures = [np.array(Image.open(path)).astype(int) for path in (tmp_path / 'out1').iterdir()]
    assert all((picture == pictures[0]).all() for picture in pictures)
    others = [np.array(Image.open(path)).astype(int) for path in (tmp_path / 'out2').iterdir()]
    assert len(others) == 5 and all(np.abs(picture - pictures[0]).max() <= 1 for picture in others)


def test_an_unreadable_frame_is_reported_and_does_not_affect_others(model, tmp_path, capsys):
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
def test_unit_translates_videos_without_flicker(tmp_path, others):
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


# -- damaged and invalid inputs ---------------------------------------------------------------------------------------

@pytest.mark.parametrize('ending', ['.mp4', '.mkv'])
def test_the_readable_part_of_a_truncated_video_is_kept(av, model, translator, tmp_path, capsys, ending):
    options = {'options': {'movflags': 'faststart'}} if ending == '.mp4' else {}
    source = write(av, tmp_path / f'clip{ending}', times=range(0, 1001 * 40, 1001), seconds=1.3, **options)
    content = source.read_bytes()
    source.write_bytes(content[:len(content) * 6 // 10])
    run(model, source, tmp_path / f'out{ending}', seed=1, crf=4, status=2)
    (line,) = capsys.readouterr().err.splitlines()
    before, after = VideoContent(av, source), VideoContent(av, tmp_path / f'out{ending}')
    assert f'the {len(after.images)} readable frames are in' in line and 'ends after' in line
    both = min(len(after.images), len(before.images))   # some versions of PyAV drop the last frames
    assert 10 < len(before.images) <= len(after.images) < 38 and after.times[:both] == before.times[:both]
    (expected,) = expected_outputs(translator, before.images[both - 1:both], style_of(1))
    assert mean_difference(after.images[both - 1], expected) < 8


def test_undecodable_packets_are_counted(av, model, tmp_path, capsys):
    source = write(av, tmp_path / 'clip.mkv', times=range(0, 1001 * 40, 1001), sounds=())
    content = bytearray(source.read_bytes())
    for place in np.random.RandomState(0).randint(len(content) // 3, len(content), 40):
        content[place] ^= 255
    source.write_bytes(content)
    run(model, source, tmp_path / 'out.mkv', status=2)
    (line,) = capsys.readouterr().err.splitlines()
    assert 'clip.mkv: ' in line and 'readable frames' in line
    assert len(VideoContent(av, tmp_path / 'out.mkv').images) <= 40


def invalid_video(av, folder: Path, kind: str) -> Path:
    names = {'playlist': 'list.m3u8', 'concat script': 'list.txt', 'still image': 'still.png'}
    path = folder / names.get(kind, 'bad.mp4')
    whole = write(av, folder / 'whole.mp4')
    if kind == 'audio only':
        with av.open(str(whole)) as video, av.open(str(path), 'w') as alone:
            stream = alone.add_stream_from_template(video.streams.audio[0])
            for packet in video.demux(video.streams.audio[0]):
                if packet.size:
                    packet.stream = stream
                    alone.mux(packet)
    elif kind == 'still image':
        save_noise(path)
    else:
        path.write_bytes({'empty': b'', 'noise': os.urandom(4000), 'text': b'hello\n' * 99,
                          'without index': whole.read_bytes()[:2000],
                          'concat script': b'ffconcat version 1.0\nfile whole.mp4\n',
                          'playlist': f'#EXTM3U\n#EXTINF:9,\n{whole}\n#EXT-X-ENDLIST\n'.encode()}[kind])
    return path


@pytest.mark.parametrize('kind, words', [
    ('empty', 'not a video, or damaged'), ('noise', 'not a video, or damaged'), ('text', 'not a video, or damaged'),
    ('without index', 'not a video, or damaged'), ('playlist', 'not a video, or damaged'),
    ('concat script', 'not a video, or damaged'),
    ('audio only', 'contains no video, only audio'), ('still image', 'test.py translates images'),
])
def test_an_input_that_is_not_a_video_gives_one_line_and_no_output(av, model, tmp_path, capsys, kind, words):
    source = invalid_video(av, tmp_path, kind)
    line = complaint(capsys, video_command.main, *flags(model, input=source, output=tmp_path / 'new' / 'out.mp4'))
    assert words in line and f'--input {source}' in line
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize('others, words', [
    (['--output', 'OUT/out.avi'], '--output'),
    (['--output', 'OUT/clip.mp4', '--walk', '3'], 'at least two are required'),
    (['--output', 'OUT/clip.mp4', '--walk', '3', '4', '--style_code', CODE],
     '--walk: cannot be combined with --style_code'),
    (['--output', 'OUT/clip.mp4', '--there_and_back'], '--there_and_back'),
    (['--output', 'OUT/clip.mp4', '--style_code', 'TWO'], '2 codes, but a video has one style'),
    (['--output', 'OUT/clip.mp4', '--crf', '52'], '--crf'),
    (['--output', 'OUT/clip.mp4', '--max_image_pixels', '999'], 'more than --max_image_pixels 999'),
    (['--output', 'OUT/clip.mp4', '--new_size', '99999'], 'the shorter side resized to 99999'),
    (['--output', 'IN/clip.mp4'], 'is the input'),
    (['--output', 'IN'], 'is the input'),
    (['--output', 'IN/link.mp4'], 'is the input'),
    (['--output', ''], 'must not be empty'),
])
def test_errors_are_one_line_and_nothing_is_written(av, model, tmp_path, capsys, others, words):
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


@pytest.mark.parametrize('output, words', [('in', 'is inside --input'), ('in/deeper', 'is inside --input'),
                                           ('out.mp4', 'the output must be a folder too')])
def test_outputs_are_not_written_into_the_input_folder(model, tmp_path, capsys, output, words):
    make_frames(tmp_path / 'in', ['1.png'])
    line = complaint(capsys, video_command.main, *flags(model, input=tmp_path / 'in', output=tmp_path / output))
    assert words in line and [path.name for path in tmp_path.rglob('*')] == ['in', '1.png']


def test_missing_pyav_gives_one_line(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'av', None)
    (tmp_path / 'clip.mp4').write_bytes(b'anything')
    line = complaint(capsys, video_command.main, *flags(model, input=tmp_path / 'clip.mp4', output=tmp_path / 'o.mp4'))
    assert 'pip install -r requirements/demo.txt' in line
    assert [path.name for path in tmp_path.iterdir()] == ['clip.mp4']


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='requires /dev/full')
@pytest.mark.parametrize('ending', ['.mp4', '.mkv', '.webp'])
def test_a_full_disk_gives_one_line_and_keeps_the_old_output(av, model, tmp_path, capsys, ending):
    source = write(av, tmp_path / 'clip.mp4')
    output = tmp_path / 'out' / f'clip{ending}'
    output.parent.mkdir()
    output.write_bytes(b'what was there')
    output.with_name(f'clip.part{ending}').symlink_to('/dev/full')
    line = complaint(capsys, video_command.main, *flags(model, input=source, output=output))
    assert line == f'{output}: cannot be written (No space left on device)'
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    assert output.read_bytes() == b'what was there'


def test_ctrl_c_leaves_no_partial_file(av, model, tmp_path, monkeypatch):
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


def test_a_long_video_is_read_only_slightly_ahead(model):
    taken = itertools.count()
    opts = video_command.parse_arguments(flags(model, input='x', output='y', batch_size=4, num_workers=1))
    frames = (video_command.Frame(torch.zeros(3, 64, 64), (64, 64), place=next(taken)) for _ in range(10_000))
    batches = video_command.batches(video_command.read_ahead(frames, opts, 8), opts)
    assert [frame.place for frame in next(batches)] == [0, 1, 2, 3]
    batches.close()
    assert next(taken) < 4 + 8 + 4
    opts = video_command.parse_arguments(flags(model, input='x', output='y', batch_size=8))
    sizes = ((64, 64), (256, 256), (512, 512), (3840, 2160), (0, 0))
    assert [video_command.frames_per_batch(opts, *size) for size in sizes] == [8, 8, 2, 1, 1]


def test_an_output_folder_gets_the_name_of_the_input_and_old_outputs_are_replaced(av, model, tmp_path):
    source = write(av, tmp_path / 'clip.mp4', times=[0, 1001])
    shutil.copy(source, tmp_path / 'clip.ts')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'clip.mp4').write_bytes(b'old')
    for name, output in (('clip.mp4', 'out'), ('clip.ts', 'out'), ('clip.mp4', 'new/deep')):
        run(model, tmp_path / name, tmp_path / output)
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['clip.mkv', 'clip.mp4']
    assert len(VideoContent(av, tmp_path / 'out' / 'clip.mp4').images) == 2
    assert (tmp_path / 'new' / 'deep' / 'clip.mp4').exists()


@pytest.mark.parametrize('kind', [int, enum.Flag, enum.IntFlag])
def test_a_cover_is_recognized_whatever_type_pyavs_flags_have(kind):
    flags = kind('Flags', {'default': 1, 'attached_pic': 0x400}) if kind is not int else None
    for value, cover in ((1, False), (0x400, True), (0x401, True)):
        assert is_cover(SimpleNamespace(disposition=value if flags is None else flags(value))) == cover
    assert not is_cover(SimpleNamespace())
