"""Video colours as players show them: matrices with and without tags, HDR; and audio that an edit list removed."""
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import flags, make_model

import video as video_command
from extras.video import colours
from extras.video.reader import open_video

av = pytest.importorskip('av', reason='PyAV is not installed: pip install -r requirements/demo.txt')
RED = (220, 30, 30)
KR_KB = {colours.BT709: (0.2126, 0.0722), colours.BT601: (0.299, 0.114), colours.BT2020: (0.2627, 0.0593)}


def coded(colour, matrix: int, bits: int = 8) -> list[int]:
    """Y'CbCr of limited range of R'G'B' in [0, 1]."""
    kr, kb = KR_KB[matrix]
    r, g, b = colour
    y = kr * r + (1 - kr - kb) * g + kb * b
    values = (16 + 219 * y, 128 + 112 * (b - y) / (1 - kb), 128 + 112 * (r - y) / (1 - kr))
    return [round(value * 2 ** (bits - 8)) for value in values]


def film(path: Path, planes, size, bits: int = 8, matrix: int = 2, transfer: int = 2, primaries: int = 2) -> Path:
    """A lossless Y'CbCr video of one colour with these tags (2: unspecified)."""
    pixels = 'yuv444p' if bits == 8 else 'yuv444p10le'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('ffv1', rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        context = stream.codec_context
        context.colorspace, context.color_trc, context.color_primaries = matrix, transfer, primaries
        frame = av.VideoFrame(*size, pixels)
        for plane, value in zip(frame.planes, planes, strict=True):
            width = plane.line_size // (1 if bits == 8 else 2)
            plane.update(np.full((size[1], width), value, 'u1' if bits == 8 else '<u2').tobytes())
        frame.colorspace, frame.pts = matrix, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def seen(path: Path) -> tuple[np.ndarray, list[str]]:
    reader = open_video(path, '--input')
    picture = next(iter(reader))
    reader.close()
    pixel = np.array(picture.image)[0, 0].astype(int)
    assert (np.array(picture.image) == pixel).all()
    return pixel, reader.notes


@pytest.mark.parametrize('size, tag, coded_with, words', [
    ((1280, 720), 1, colours.BT709, None), ((640, 480), 1, colours.BT709, None), ((1280, 720), 6, colours.BT601, None),
    ((1280, 720), 2, colours.BT709, 'BT.709'), ((720, 1280), 2, colours.BT709, 'BT.709'),
    ((640, 480), 2, colours.BT601, 'BT.601'), ((1280, 718), 2, colours.BT601, 'BT.601')])
def test_a_colour_is_read_by_its_tag_or_as_players_guess(tmp_path, size, tag, coded_with, words):
    planes = coded(np.array(RED) / 255, coded_with)
    pixel, notes = seen(film(tmp_path / 'film.mkv', planes, size, matrix=tag))
    assert np.abs(pixel - RED).max() <= 3
    assert (not notes) if words is None else len(notes) == 1 and words in notes[0]


def light_of(signal: float, transfer: int) -> float:
    """cd/m² that an HDR display shows for a grey signal (BT.2100)."""
    if transfer == colours.PQ:
        power = signal ** (32 / 2523)
        return 10_000 * (max(power - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * power)) ** (16384 / 2610)
    scene = signal ** 2 / 3 if signal <= 0.5 else (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return 1000 * scene ** 1.2


@pytest.mark.parametrize('bits, said', [(8, False), (10, True)])
def test_where_pyav_does_not_say_what_is_hdr_a_line_does(bits, said):
    components = [SimpleNamespace(bits=bits, is_luma=number == 0) for number in range(3)]
    frame = SimpleNamespace(format=SimpleNamespace(components=components), colorspace=1, height=720)
    assert ('read as SDR' in colours.colour_note(frame)) == said


@pytest.mark.skipif(not hasattr(av.VideoFrame, 'color_trc'), reason='this PyAV does not say the transfer function')
@pytest.mark.parametrize('transfer, name', [(colours.HLG, 'HLG'), (colours.PQ, 'PQ')])
def test_hdr_becomes_sdr_whose_white_is_white(tmp_path, transfer, name):
    found = []
    signals = np.linspace(0, 1, 12)
    for signal in signals:
        planes = coded((signal,) * 3, colours.BT2020, 10)
        pixel, notes = seen(film(tmp_path / f'{signal}.mkv', planes, (64, 64), 10, 9, transfer, 9))
        assert np.ptp(pixel) <= 1 and name in notes[0] and 'SDR' in notes[0]
        found.append(pixel[0])
    assert found == sorted(found) and found[0] == 0 and found[-1] >= 254
    for signal, value in zip(signals, found, strict=True):
        light = light_of(signal, transfer) / 203
        if light < 0.8:   # below the knee: the light of the display, with the curve of sRGB
            wanted = 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
            assert value == pytest.approx(255 * wanted, abs=2)
    white = 0.75 if transfer == colours.HLG else 0.58   # a sheet of paper: 203 cd/m²
    pixel, _ = seen(film(tmp_path / 'white.mkv', coded((white,) * 3, colours.BT2020, 10), (64, 64), 10, 9, transfer, 9))
    assert 235 <= pixel[0] <= 250


@pytest.mark.skipif(not hasattr(av.VideoFrame, 'color_trc'), reason='this PyAV does not say the transfer function')
def test_primaries_of_hdr_are_converted(tmp_path):
    """The red of BT.709 at half of graphics white, in the primaries of BT.2020."""
    light = np.linalg.inv(colours.TO_BT709.astype(float)) @ (0.5, 0, 0)
    scene = light * 203 / 1000 / (light @ colours.LUMINANCE * 203 / 1000) ** (0.2 / 1.2)   # undo the system gamma
    upper = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    signal = np.where(scene <= 1 / 12, np.sqrt(3 * scene), upper)
    pixel, _ = seen(film(tmp_path / 'red.mkv', coded(signal, colours.BT2020, 10), (64, 64), 10, 9, colours.HLG, 9))
    assert pixel[0] == pytest.approx(188, abs=4) and pixel[1] <= 12 and pixel[2] <= 12


def make_cut_film(path: Path, cut: float) -> Path:
    """A video of two seconds with a high tone, after `cut` seconds with a low tone that an edit list hides."""
    with av.open(str(path), 'w') as container:
        video = container.add_stream('libx264', rate=25)
        video.width = video.height = 64
        video.pix_fmt = 'yuv420p'
        sound = container.add_stream('aac', rate=48000)
        sound.layout = 'mono'
        time = np.arange(round((2 + cut) * 48000)) / 48000
        tone = np.where(time < cut, np.sin(2 * np.pi * 440 * time), np.sin(2 * np.pi * 1760 * time)).astype(np.float32)
        packets = []
        for first in range(0, len(tone) - 1024, 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, first:first + 1024] / 2, format='fltp', layout='mono')
            frame.sample_rate, frame.pts, frame.time_base = 48000, first, Fraction(1, 48000)
            packets += sound.encode(frame)
        packets += sound.encode(None)
        for i in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 100, np.uint8), format='rgb24')
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for packet in packets:
            packet.pts -= round(cut * 48000)
            packet.dts = packet.pts
            container.mux(packet)
    return path


def sound_of(path: Path) -> tuple[float, float]:
    """The duration of the audio in seconds, and the frequency of its first tenth of a second."""
    with av.open(str(path)) as container:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    return len(samples) / 48000, np.abs(np.fft.rfft(samples[1024:5824])).argmax() * 10


@pytest.mark.parametrize('ending', ['mkv', 'mp4', 'mov'])
def test_audio_removed_by_an_edit_list_stays_removed(tmp_path, ending):
    source = make_cut_film(tmp_path / 'source.mp4', 1.02)
    seconds, pitch = sound_of(source)
    assert seconds == pytest.approx(2, abs=0.05) and pitch == pytest.approx(1760, abs=20)
    model = make_model(tmp_path)
    assert video_command.main([f'--output={tmp_path}/out.{ending}', f'--input={source}', '--num_workers=0', *flags(
        model, a2b=1, new_size=16)]) == 0
    seconds, pitch = sound_of(tmp_path / f'out.{ending}')
    assert seconds == pytest.approx(2, abs=0.05) and pitch == pytest.approx(1760, abs=20)
