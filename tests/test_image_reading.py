"""Reading images: colour profiles, more than 8 bits, formats, and files that are not images."""
import io
import struct
import sys
import types
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from core.errors import BadInput
from core.image_reading import read_header, read_image, read_image_bytes
from data import describe_images, read_options

# Display P3: its primaries and white to XYZ of D65, and sRGB's back; both have sRGB's curve.
P3_TO_XYZ = np.array([[0.48657095, 0.26566769, 0.19821729], [0.22897456, 0.69173852, 0.07928691],
                      [0.0, 0.04511338, 1.04394437]])
XYZ_TO_SRGB = np.linalg.inv(np.array([[0.41239080, 0.35758434, 0.18048079], [0.21263901, 0.71516868, 0.07219232],
                                      [0.01933082, 0.11919478, 0.95053215]]))
BRADFORD = np.array([[1.0479298, 0.0229468, -0.0501922], [0.0296278, 0.9904344, -0.0170738],
                     [-0.0092430, 0.0150552, 0.7518742]])   # D65 to D50, to which the primaries in profiles refer


def linear(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def curved(values: np.ndarray) -> np.ndarray:
    values = values.clip(0, 1)
    return 255 * np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


def p3_profile() -> bytes:
    """Display P3 as a profile: three columns and sRGB's curve."""
    columns = BRADFORD @ P3_TO_XYZ
    curve = b'para\0\0\0\0\0\x03\0\0' + np.round(np.array([2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045]) * 65536
                                                 ).astype('>i4').tobytes()
    return profile_of(b'RGB ', {b'rXYZ': xyz(columns[:, 0]), b'gXYZ': xyz(columns[:, 1]), b'bXYZ': xyz(columns[:, 2]),
                                b'rTRC': curve, b'gTRC': curve, b'bTRC': curve})


def xyz(values) -> bytes:
    return b'XYZ \0\0\0\0' + np.round(np.asarray(values) * 65536).astype('>i4').tobytes()


def profile_of(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """The bytes of an ICC profile, version 2, for a display."""
    tags = {b'desc': b'desc\0\0\0\0\0\0\0\x03P3\0' + bytes(79), b'wtpt': xyz([0.9642, 1, 0.8249]), **tags,
            b'cprt': b'text\0\0\0\0x\0'}
    table, body = len(tags).to_bytes(4, 'big'), b''
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        body += bytes(-len(body) % 4)
        table += name + (start + len(body)).to_bytes(4, 'big') + len(content).to_bytes(4, 'big')
        body += content
    size = start + len(body)
    header = (size.to_bytes(4, 'big') + b'lcms' + b'\x02\x40\0\0' + b'mntr' + space + b'XYZ ' + bytes(12) + b'acsp'
              + bytes(28) + np.round(np.array([0.9642, 1, 0.8249]) * 65536).astype('>i4').tobytes() + bytes(48))
    return header + table + body


def content_of(image: Image.Image, kind: str = 'PNG', **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


COLOURS = np.array([[[220, 30, 30], [30, 200, 40], [90, 120, 210], [128, 128, 128], [255, 255, 255]]], np.uint8)


def read(content: bytes, channels: int = 3, **options) -> np.ndarray:
    return np.asarray(read_image_bytes(content, 'file', channels, **options))


# -- profiles ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('kind, options', [('PNG', {}), ('TIFF', {}), ('WEBP', {'lossless': True}),
                                           ('JPEG', {'quality': 100, 'subsampling': 0})])
def test_display_p3_becomes_srgb(kind, options):
    wide = np.repeat(np.repeat(COLOURS, 16, 0), 16, 1)
    found = read(content_of(Image.fromarray(wide), kind, icc_profile=p3_profile(), **options))[8, 8::16].astype(float)
    wanted = curved(linear(COLOURS[0]) @ (XYZ_TO_SRGB @ P3_TO_XYZ).T)
    assert np.abs(wanted[0] - COLOURS[0, 0]).max() > 15   # it is a different colour in sRGB
    assert np.abs(found - wanted).max() <= (2 if kind != 'JPEG' else 4)


def test_transparency_and_profile_go_together():
    image = Image.fromarray(COLOURS).convert('RGBA')
    image.putalpha(Image.new('L', image.size, 102))
    found = read(content_of(image, icc_profile=p3_profile()))[0].astype(float)
    opaque = read(content_of(Image.fromarray(COLOURS), icc_profile=p3_profile()))[0]
    assert np.abs(found - (0.4 * opaque + 0.6 * 255)).max() <= 1


def test_a_palette_has_its_profile_too():
    plain, palette = (Image.fromarray(COLOURS).convert(mode) for mode in ('RGB', 'P'))
    palette = palette.quantize(8) if palette.mode != 'P' else plain.quantize(8)
    found = read(content_of(palette, icc_profile=p3_profile()))
    assert np.abs(found.astype(int) - read(content_of(palette.convert('RGB'), icc_profile=p3_profile()))).max() <= 1


def test_srgbs_own_profile_changes_nothing():
    noise = Image.fromarray(np.random.RandomState(0).randint(0, 256, (40, 60, 3), dtype=np.uint8))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    assert np.array_equal(read(content_of(noise, icc_profile=profile)), np.asarray(noise))


def test_a_grey_profile_is_for_grey_images():
    gamma = profile_of(b'GRAY', {b'kTRC': b'curv\0\0\0\0\0\0\0\1\1\xcd'})   # 1.8
    grey = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    wanted = curved((np.arange(256) / 255) ** 1.8)
    assert np.abs(wanted - np.arange(256)).max() > 10
    for channels in (1, 3):
        found = read(content_of(grey, icc_profile=gamma), channels).reshape(256, -1)
        assert np.abs(found - wanted[:, None])[16:].max() <= 2
    assert np.array_equal(read(content_of(Image.fromarray(COLOURS), icc_profile=gamma)), COLOURS)   # not for colours


def test_grey_images_keep_their_values_under_a_profile_of_colour():
    grey = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    assert np.abs(read(content_of(grey, icc_profile=p3_profile()), 1).astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize('profile', [b'garbage' * 40, p3_profile()[:150], p3_profile().replace(b'RGB XYZ', b'CMYKXYZ')])
def test_a_broken_profile_is_passed_over_with_a_line(tmp_path, capsys, profile):
    for name in 'ab':
        (tmp_path / f'{name}.png').write_bytes(content_of(Image.fromarray(COLOURS), icc_profile=profile + tmp_path.name
                                                          .encode()))
    assert all(np.array_equal(np.asarray(read_image(tmp_path / f'{name}.png', 3)), COLOURS) for name in 'ab')
    line = capsys.readouterr().err
    assert line.count('\n') == 1 and line.startswith(f'{tmp_path}/a.png: its colour profile is passed over')


# -- values of more than 8 bits ---------------------------------------------------------------------------------------

TWELVE = np.linspace(0, 4095, 60 * 40).reshape(40, 60).astype(np.uint16)


@pytest.mark.parametrize('numbers, value_range', [(np.uint16, (0, 4095)), (np.int32, (-100, 5000)),
                                                  (np.float32, (-1000, 4000))])
def test_a_value_range_becomes_black_to_white(tmp_path, numbers, value_range):
    Image.fromarray(TWELVE.astype(numbers)).save(tmp_path / 'a.tif')
    low, high = value_range
    wanted = ((TWELVE.astype(float) - low) / (high - low)).clip(0, 1)
    found = np.asarray(read_image(tmp_path / 'a.tif', 1, value_range=value_range))
    assert np.abs(found - wanted).max() < 1e-6
    colour = np.asarray(read_image(tmp_path / 'a.tif', 3, value_range=value_range))
    assert np.abs(colour[..., 1] - wanted * 255).max() <= 0.51


def write_deep_colour(values: np.ndarray, path) -> None:
    """A PNG or uncompressed TIFF with three channels of 16 bits, which Pillow cannot write."""
    height, width, _ = values.shape
    if path.suffix == '.png':
        lines = b''.join(b'\0' + line.astype('>u2').tobytes() for line in values)
        chunks = [(b'IHDR', struct.pack('>IIBBBBB', width, height, 16, 2, 0, 0, 0)), (b'IDAT', zlib.compress(lines)),
                  (b'IEND', b'')]
        path.write_bytes(b'\x89PNG\r\n\x1a\n' + b''.join(
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
            for kind, data in chunks))
        return
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8 + 12 * 9 + 6), (259, 3, 1, 1), (262, 3, 1, 2),
            (273, 4, 1, 8 + 12 * 9 + 12), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, values.size * 2)]
    path.write_bytes(b'II*\0' + struct.pack('<IH', 8, 9) + b''.join(struct.pack('<HHII', *tag) for tag in tags)
                     + bytes(4) + struct.pack('<HHH', 16, 16, 16) + values.astype('<u2').tobytes())


@pytest.mark.parametrize('name', ['a.png', 'a.tif'])
def test_colours_of_16_bits_have_a_range_too(tmp_path, name):
    values = np.stack([TWELVE, TWELVE[::-1], 4095 - TWELVE // 2], 2)
    write_deep_colour(values, tmp_path / name)
    plain = np.asarray(read_image(tmp_path / name, 3))
    assert plain.max() <= 16   # the high bytes, as elsewhere
    found = np.asarray(read_image(tmp_path / name, 3, value_range=(0, 4095)))
    assert np.abs(found - values / 4095 * 255).max() <= 0.51
    assert np.array_equal(read((tmp_path / name).read_bytes(), value_range=(0, 4095)), found)
    line = describe_images('trainA', [tmp_path / name], 3)
    assert 'channels 16-bit colour read as 3, values 0 to 4095 of 0 to 65535, which is dark' in line


def test_the_range_does_not_touch_files_of_8_bits():
    assert np.array_equal(read(content_of(Image.fromarray(COLOURS)), value_range=(0, 4095)), COLOURS)


def test_values_outside_say_which_they_are_and_what_to_set(tmp_path):
    Image.fromarray(TWELVE.astype(np.float32)).save(tmp_path / 'a.tif')
    with pytest.raises(BadInput, match=r'values from 0 to 4095, some outside 0…1; set value_range_a or value_range_b'):
        read_image(tmp_path / 'a.tif', 1)
    holes = TWELVE.astype(np.float32)
    holes[3, 3] = np.nan
    Image.fromarray(holes).save(tmp_path / 'b.tif')
    with pytest.raises(BadInput, match='not numbers'):
        read_image(tmp_path / 'b.tif', 1, value_range=(0, 4095))


@pytest.mark.parametrize('numbers, kind', [(np.uint16, '16-bit'), (np.int32, '32-bit'), (np.float32, 'float')])
def test_the_start_says_the_range_that_was_found(tmp_path, numbers, kind):
    for i in (1, 2):
        Image.fromarray((TWELVE // i).astype(numbers)).save(tmp_path / f'{i}.tif')
    paths = sorted(tmp_path.iterdir())
    line = describe_images('trainB', paths, 1)
    assert f'channels {kind} read as 1, values 0 to 4095' in line and 'value_range_b: [0, 4095]' in line
    assert ('outside 0 to 1, so such files cannot be read'
            if kind == 'float' else 'of 0 to 65535, which is dark') in line
    assert 'values 0 to 4095 (value_range_b: 0 to 5000 become' in describe_images('trainB', paths, 1, [0, 5000])


def test_the_config_says_how_a_domain_is_read():
    config = {'input_dim_a': 1, 'input_dim_b': 3, 'value_range_b': [0, 9], 'max_image_pixels': 100}
    assert read_options(config, 'b') == {'channels': 3, 'value_range': [0, 9], 'max_pixels': 100}
    assert read_options(config, 'a')['value_range'] is None


# -- formats ----------------------------------------------------------------------------------------------------------

NOISE = Image.fromarray(np.random.RandomState(0).randint(0, 256, (40, 60, 3), dtype=np.uint8))


@pytest.mark.parametrize('kind, feature, options', [('AVIF', 'avif', {'quality': 100, 'subsampling': '4:4:4'}),
                                                    ('JPEG2000', 'jpg_2000', {})])
def test_avif_and_jpeg_2000_are_read(kind, feature, options):
    if not features.check(feature):
        pytest.skip(f'Pillow without {feature}')
    content = content_of(NOISE, kind, **options)
    assert np.abs(read(content).astype(int) - np.asarray(NOISE)).mean() < 4
    with pytest.raises(BadInput):
        read(content[:len(content) // 2])


def test_pictures_of_phones_are_read_where_the_library_is_there(tmp_path, monkeypatch):
    heic = b'\0\0\0\x18ftypheic' + bytes(40)
    (tmp_path / 'a.heic').write_bytes(heic)
    opened = []

    def register():
        def factory(file, name):
            opened.append(name)
            return Image.open(io.BytesIO(content_of(NOISE)))

        Image.register_open('HEIF', factory, lambda head: head[4:12] == b'ftypheic')

    monkeypatch.setitem(sys.modules, 'pillow_heif', types.SimpleNamespace(register_heif_opener=register))
    assert np.array_equal(np.asarray(read_image(tmp_path / 'a.heic', 3)), np.asarray(NOISE)) and opened


@pytest.mark.parametrize('content, words', [
    (b'\0\0\0\x18ftypheic' + bytes(40), 'a HEIC picture, which pip install pillow-heif'),
    (b'\0\0\0\x18ftypmp42' + bytes(40), 'a video'), (b'', 'the file is empty'),
    (b'version https://git-lfs.github.com/spec/v1\noid', 'git lfs pull brings it'),
    (b'\n<!DOCTYPE html><html>', 'a web page'), (b'<svg xmlns="x">', 'a drawing or document'),
    (b'words', 'not an image')])
def test_what_is_no_image_is_called_by_its_name(monkeypatch, content, words):
    monkeypatch.setattr('core.image_reading.can_read_heif', lambda: False)
    with pytest.raises(BadInput, match=words) as error:
        read(content)
    assert '\n' not in str(error.value)


def test_a_header_has_the_size_of_the_turned_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    NOISE.save(tmp_path / 'a.jpg', exif=exif, icc_profile=p3_profile())
    header = read_header(tmp_path / 'a.jpg')
    assert header.size == read_image(tmp_path / 'a.jpg', 3).size == (40, 60)
    assert (header.kind, header.deep, header.profile) == ('3', False, p3_profile())
    assert read_header(tmp_path / 'none.jpg') is None
