"""Feed broken and hostile files to the readers of configs, lists, images and checkpoints, and count what they do.

    python tests/stress/fuzz_readers.py --kind all --n 5000 --seed 1

An input may be read, or refused with one line; anything else fails: another exception, more than --seconds, more
memory than --memory MiB, words on stderr (but what was passed over or unwrapped), a payload that ran. Inputs that
failed are kept in --keep. Exit status 1 if any did. The same seed means the same inputs.
"""
import argparse
import collections
import contextlib
import faulthandler
import io
import os
import random
import re
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
import yaml
from PIL import Image, ImageCms, features
from PIL.PngImagePlugin import PngInfo

from core.checkpoints import load_file, load_networks, load_vgg_weights
from core.errors import BadInput
from data import Transform, describe_images, list_folder, read_image, read_list
from engine.cli import at_least, run_command
from engine.config import load_config
from engine.methods import METHODS
from extras.baselines.networks import PatchDiscriminator, ResnetGenerator, UNetGenerator
from networks import AdaINGen, MsImageDis, VAEGen, Vgg16

GEN = {'dim': 1, 'mlp_dim': 2, 'style_dim': 2, 'activ': 'relu', 'n_downsample': 1, 'n_res': 1, 'pad_type': 'reflect'}
DIS = {'dim': 1, 'norm': 'bn', 'activ': 'lrelu', 'n_layer': 2, 'gan_type': 'lsgan', 'num_scales': 2,
       'pad_type': 'reflect'}
NUMBERS = [0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 2 ** 63 - 1]


def mutated(content: bytes, rng: random.Random, others: list[bytes], tokens: list[bytes] = ()) -> bytes:
    """`content` after a few random changes of bytes, numbers and parts."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 4, 16, 64, 1000))
        way = rng.randrange(9 if tokens else 8)
        if way == 0:
            data[at:at + 1] = bytes([rng.randrange(256)])
        elif way == 1:
            del data[at:at + length]
        elif way == 2:
            data[at:at] = data[at:at + length]
        elif way == 3:
            data[at:at] = rng.randbytes(length)
        elif way == 4:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice(NUMBERS) % 256 ** size
            data[at:at + size] = number.to_bytes(size, rng.choice(('big', 'little')))
        elif way == 5:
            del data[at:]
        elif way == 6:
            other = rng.choice(others)
            data[at:at + length] = other[at:at + length]
        elif way == 7:
            data[at:at + length] = bytes([rng.choice((0, 0xff))]) * min(length, len(data) - at)
        else:
            data[at:at] = rng.choice(tokens)
    return bytes(data)


# ---------------------------------------------------------------------------------------------------------------------
# Configs
# ---------------------------------------------------------------------------------------------------------------------

class Configs:
    """Mutations of small configs, and generated nests of tags, anchors, aliases and odd scalars."""

    TOKENS = [b'&a ', b'*a', b'<<: *a\n', b'!!int ', b'!!binary ', b'!!timestamp ', b'!!set ', b'!!python/name:os.x ',
              b'---\n', b'...\n', b'? ', b'- ', b': ', b'{', b'}', b'[', b']', b'|\n', b'>\n', b'"', b"'", b'\n  ',
              b'\t', b'%YAML 9.9\n', b'#', b'.inf', b'.nan', b'1:30', b'2020-13-45', b'0x', b'9' * 5000, b'1e999', b'~',
              b'"\\uD800"', b'\xef\xbb\xbf', b'\xff\xfe', b'\0', b'\x85', b'\r', b'yes', b'= ', b'lr: 1\n', b'gen: 2\n']

    def __init__(self, folder: Path, marker: Path):
        self.path, self.folder = folder / 'c.yaml', folder
        whole = yaml.safe_load((ROOT / 'configs' / 'demo_edges2handbags_folder.yaml').read_text(encoding='utf-8'))
        few = {key: whole[key] for key in ('lr', 'max_iter', 'init', 'gen', 'new_size', 'data_root', 'beta1')}
        others = [path.read_bytes() for path in sorted((ROOT / 'configs').glob('demo_drawn_small_*gan*.yaml'))]
        self.seeds = [*[yaml.safe_dump(whole).encode()] * 2, *others, *[yaml.safe_dump(few).encode()] * 4,
                      b'lr: 1e-4\ngen: {dim: 64, activ: relu}\ndis: {dim: 64}\n', b'a: &a [1, 2]\nb: *a\n']
        self.run_me = f'!!python/object/apply:os.system ["touch {marker}"]\n'.encode()
        self.tokens = [*self.TOKENS, self.run_me]

    def make(self, rng: random.Random) -> None:
        if rng.random() < 0.1:
            content = self._nasty(rng)
        else:
            content = rng.choice(self.seeds)
            content = mutated(content, rng, self.seeds, self.tokens) if rng.random() < 0.95 else content
        self.path.write_bytes(content)

    def read(self, rng: random.Random) -> None:
        load_config(self.path, 'MUNIT' if rng.random() < 0.7 else rng.choice(tuple(METHODS)), data=rng.random() < 0.1)

    def _nasty(self, rng: random.Random) -> bytes:
        n = rng.choice((3, 9, 30, 200))
        bomb = b'a0: &a0 [x, x]\n' + b''.join(b'a%d: &a%d [%s]\n' % (i, i, b', '.join([b'*a%d' % (i - 1)] * 9))
                                              for i in range(1, n))
        merges = b'a0: &a0 {x: 1}\n' + b''.join(b'a%d: &a%d {<<: [%s]}\n' % (i, i, b', '.join([b'*a%d' % (i - 1)] * 9))
                                                for i in range(1, n))
        return rng.choice([
            bomb, merges, b'[' * n * 50, b'{a: ' * n * 10, b'- ' * n * 20, b'? ' * n * 20, b'a: &a [*a]\n',
            b'&a {*a : 1}',
            b'lr: ' + b'9' * 10 ** 4, b'lr: 0x' + b'f' * 10 ** 4, b'lr: ' + b'1:' * n + b'1',
            b'x' * rng.choice((10, 2 ** 18)),
            b'k: 1\n' * 2, b''.join(b'k%d: 1\n' % i for i in range(n * 10)), b'x: "' + b'\\x41' * n * 100 + b'"',
            b'lr: 1\n'.decode().encode(rng.choice(('utf-16', 'utf-32', 'utf-16-le'))), b'\n' * n * 100, b'#' * n, b'',
            b'a: ' + self.run_me, b'!!python/object/new:os.system ["true"]', b'--- 1\n--- 2\n', b"? [a]\n: 1\n",
            b'a: ' + b' ' * n * 100 + b'b', b'a: |' + b'\n b' * n * 10, b'!!set {a, b}', b'!!omap [a: 1]', b'!!int ""',
            b'!!float []', b'!!bool maybe', b'!!binary "###"', b'!!null {a: b}', b'[1, 2', b'a: b: c', b'yes: 1',
            b'1: 2'])


# ---------------------------------------------------------------------------------------------------------------------
# Lists
# ---------------------------------------------------------------------------------------------------------------------

class Lists:
    """Mutated lists over a folder of images, folders, pipes and links."""

    TOKENS = [b'\n', b'\r\n', b'\r', b'\0', b'..', b'/', b'../', b'/etc/passwd\n', b'/dev/zero\n', b'pipe.png\n',
              b'loop.png\n', b'round/round/1.png\n', b'sub\n', b'x' * 300, b'y/' * 3000, b'\xef\xbb\xbf', b'\xff',
              b' ', b'\t', b'\x0b', b'\xe2\x80\xa8', b'#', b'\x1b[31m', b'~', b'$HOME', b'*', b'sub/2.JPG\n',
              b'1.png\n']

    def __init__(self, folder: Path, marker: Path):
        self.path, self.folder = folder / 'list.txt', folder / 'images'
        (self.folder / 'sub').mkdir(parents=True)
        for name in ('1.png', 'sub/2.JPG', 'n\new.png', 'ü.png'):
            Image.new('RGB', (2, 2)).save(self.folder / name)
        os.mkfifo(self.folder / 'pipe.png')
        (self.folder / 'loop.png').symlink_to('loop.png')
        (self.folder / 'round').symlink_to('.')
        self.seeds = [b'1.png\nsub/2.JPG\n', '\ufeff1.png\r\n\r\n ü.png\r\n'.encode(), b'1.png\n' * 50,
                      f'{self.folder / "1.png"}\n../images/1.png\n'.encode()]

    def make(self, rng: random.Random) -> None:
        self.path.write_bytes(mutated(rng.choice(self.seeds), rng, self.seeds, self.TOKENS) * rng.choice((1, 1, 1, 40)))

    def read(self, rng: random.Random) -> None:
        read_list(self.folder, self.path)
        if rng.random() < 0.1 and len(list_folder(self.folder)) != 4:
            raise AssertionError('list_folder found something else than the four files')


# ---------------------------------------------------------------------------------------------------------------------
# Images
# ---------------------------------------------------------------------------------------------------------------------

class Images:
    """Mutated images of every format and mode, PNG files with sums set right again, and bombs."""

    def __init__(self, folder: Path, marker: Path):
        self.path = folder / 'image.png'
        picture = Image.fromarray(np.random.RandomState(0).randint(0, 256, (5, 7, 3), dtype=np.uint8)).resize((37, 25))
        exif, text = Image.Exif(), PngInfo()
        exif[0x0112], exif[0x010e] = 6, 'words ' * 20
        for add in (text.add_text, text.add_itxt):
            add('comment', 'words ' * 50, zip=True)
        deep = Image.fromarray(np.arange(37 * 25, dtype=np.uint16).reshape(25, 37))
        more = {'save_all': True, 'append_images': [picture.rotate(90), picture.convert('L').convert('RGB')]}
        self.seeds = []
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
        newer = [(picture, form, {}) for form, feature in (('AVIF', 'avif'), ('JPEG2000', 'jpg_2000'))
                 if features.check(feature)]
        for image, form, options in (
                (picture, 'JPEG', {'exif': exif}), (picture, 'JPEG', {'progressive': True, 'icc_profile': b'x' * 200}),
                (picture.convert('CMYK'), 'JPEG', {}), (picture.convert('L'), 'JPEG', {'optimize': True}),
                (picture, 'MPO', more), (picture, 'PNG', {'exif': exif, 'pnginfo': text, 'icc_profile': b'x' * 200}),
                (picture.convert('P'), 'PNG', {'transparency': bytes(range(256))}), (picture.convert('1'), 'PNG', {}),
                (picture.convert('RGBA'), 'PNG', more), (deep, 'PNG', {}), (deep, 'TIFF', {}), (deep, 'PPM', {}),
                (picture, 'WEBP', {'exif': exif}), (picture, 'WEBP', {'lossless': True}), (picture, 'WEBP', more),
                (picture.convert('RGBA'), 'WEBP', {}), (picture, 'BMP', {}), (picture.convert('P'), 'BMP', {}),
                (picture, 'PPM', {}), (picture.convert('1'), 'PPM', {}), (picture, 'TIFF', more),
                (picture, 'TIFF', {'exif': exif}),
                (picture, 'TIFF', {'compression': 'tiff_lzw'}), (picture, 'TIFF', {'compression': 'jpeg'}),
                (picture, 'TIFF', {'compression': 'tiff_adobe_deflate'}), (picture.convert('1'), 'TIFF',
                                                                           {'compression': 'group4'}),
                (picture.convert('F'), 'TIFF', {}), (picture, 'GIF', more), (picture.convert('P'), 'GIF', {}),
                *newer, (picture, 'JPEG', {'icc_profile': profile}), (picture, 'TIFF', {'icc_profile': profile})):
            file = io.BytesIO()
            if 'append_images' in options:   # saving leaves settings on an image that another format cannot take
                options = {**options, 'append_images': [other.copy() for other in options['append_images']]}
            image.copy().save(file, form, **options)
            self.seeds.append(file.getvalue())
        self.seeds.append(b'P3\n2 2\n255\n' + b'1 2 3 ' * 4)

    def make(self, rng: random.Random) -> None:
        if rng.random() < 0.05:
            content = self._nasty(rng)
        else:
            content = mutated(rng.choice(self.seeds), rng, self.seeds)
            if content.startswith(b'\x89PNG') and rng.random() < 0.7:
                content = with_right_sums(content)
        self.path.write_bytes(content)

    def read(self, rng: random.Random) -> None:
        channels, new_size = rng.choice((1, 3)), rng.choice((0, 16, 256))
        with contextlib.suppress(BadInput):
            describe_images('images', [self.path], channels)
        image = read_image(self.path, channels, 2 ** 22, new_size)
        if image.mode not in {1: ('L', 'F'), 3: ('RGB',)}[channels]:
            raise AssertionError(f'read as {image.mode}')
        Transform(new_size, (8, 8))(image)

    def _nasty(self, rng: random.Random) -> bytes:
        side, other = rng.choice((1, 2000, 30000, 2 ** 31 - 1)), rng.choice((0, 1, 2000, 30000, 65535, 2 ** 31 - 1))
        size = (side, other) if rng.random() < 0.5 else (other, side)
        text = zlib.compress(bytes(rng.choice((10 ** 3, 3 * 10 ** 6))))
        kind, depth = rng.choice((0, 2, 3, 4, 6)), rng.choice((1, 8, 16))
        header = struct.pack('>IIBBBBB', *size, depth, kind, 0, 0, rng.randrange(2))
        png = (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header)
               + b''.join(chunk(name, data) for name, data in rng.sample([
                   (b'zTXt', b'k\0\0' + text), (b'iCCP', b'k\0\0' + text), (b'iTXt', b'k\0\1\0\0\0' + text),
                   (b'eXIf', rng.randbytes(30)), (b'PLTE', bytes(30)), (b'tRNS', bytes(rng.randrange(9))),
                   (b'acTL', bytes(8)), (b'fcTL', bytes(26)), (b'gAMA', bytes(3)), (b'pHYs', bytes(2))], 4))
               + chunk(b'IDAT', zlib.compress(bytes(rng.choice((100, 10 ** 6))))) + chunk(b'IEND', b''))
        tags = b'II*\0\x08\0\0\0' + struct.pack('<H', 4) + b''.join(
            struct.pack('<HHII', tag, rng.choice((1, 2, 3, 4, 5, 11, 12)), *rng.choices(NUMBERS[:13], k=2))
            for tag in (256, 257, rng.choice((258, 273, 277, 279, 320, 322, 325)), rng.choice((259, 262, 278, 34665))))
        scan = self.seeds[1]
        scans = scan[:-2] + scan[scan.rindex(b'\xff\xda'):-2] * rng.choice((5, 500, 5000)) + b'\xff\xd9'
        return rng.choice([png, png, tags, scans, b'P6 %d %d 255\n' % size, b'P3 %d %d 65535\n' % size + b'9' * 10 ** 5,
                           b'P1 1 1\n' + b' ' * 10 ** 6, b'Pf %d %d\n-1.0\n' % size, b'', b'hello', b'%!PS-Adobe\n',
                           b'BM' + rng.randbytes(12) + struct.pack('<IiiHH', 40, *size, 1, 24) + bytes(99),
                           b'GIF89a' + struct.pack('<HH', *(s % 65536 for s in size)) + rng.randbytes(50)])


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG file."""
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def with_right_sums(png: bytes) -> bytes:
    """A PNG file whose mutated parts have the check sums that a decoder wants."""
    made, at = png[:8], 8
    while at + 12 <= len(png):
        length = min(int.from_bytes(png[at:at + 4], 'big'), len(png) - at - 12)
        made += chunk(png[at + 4:at + 8], png[at + 8:at + 8 + length])
        at += 12 + length
    return made


# ---------------------------------------------------------------------------------------------------------------------
# Checkpoints
# ---------------------------------------------------------------------------------------------------------------------

class Payload:
    """Would make the marker when unpickled by anything that calls what a file names."""

    def __init__(self, marker: Path, rng: random.Random):
        self.call = rng.choice([(os.system, (f'touch {marker}',)), (eval, (f'open({str(marker)!r}, "w")',)),
                                (open, (str(marker), 'w')), (Path.touch, (marker,)),
                                (os.mkdir, (str(marker),)), (exec, (f'open({str(marker)!r}, "w")',))])

    def __reduce__(self):
        return self.call


class Call:
    """Calls something that `torch.load` lets a file call."""

    def __init__(self, function: Callable, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Checkpoints:
    """Mutated files in both containers, pickles of random operations, odd tensors and contents, payloads and bombs."""

    def __init__(self, folder: Path, marker: Path):
        self.path, self.marker = folder / 'file.pt', marker
        torch.manual_seed(0)
        self.networks = {'gen': AdaINGen(1, GEN), 'unit': VAEGen(1, GEN), 'dis': MsImageDis(1, DIS),
                         'resnet': ResnetGenerator(1, 1, {**GEN, 'dropout': 0.5}),
                         'unet': UNetGenerator(1, 1, {**GEN, 'dropout': 0.5, 'noise_dim': 2}, everywhere=True),
                         'patches': PatchDiscriminator(1, DIS)}
        self.vgg = Vgg16()
        self.states = {name: network.state_dict() for name, network in self.networks.items()}
        optimizer = torch.optim.Adam(self.networks['dis'].parameters())
        self.networks['dis'](torch.rand(2, 1, 32, 32))[0].sum().backward()
        optimizer.step()
        self.contents = [{'a': state, 'b': state} for state in self.states.values()]
        self.contents.append({'gen': optimizer.state_dict(), 'dis': optimizer.state_dict()})
        self.files = {legacy: [self._file(content, legacy) for content in self.contents] for legacy in (True, False)}
        self.pickles = [zipfile.ZipFile(io.BytesIO(file)).read('archive/data.pkl') for file in self.files[False]]
        name = {name: f'c{module}\n{name}\n'.encode() for module, name in (
            ('torch', 'Tensor'), ('__builtin__', 'bytearray'), ('builtins', 'eval'), ('os', 'system'),
            ('collections', 'OrderedDict'), ('collections', 'Counter'), ('torch._utils', '_rebuild_tensor_v2'),
            ('torch._utils', '_rebuild_meta_tensor_no_storage'), ('torch', 'FloatStorage'), ('torch', 'Size'))}
        self.tokens = [*name.values(), b'\x85', b'\x86', b'\x87', b'(', b'R',
                       b'b', b'Q', b's', b'u', b'e', b'.', b'q\0', b'h\0', b'N', b')', b']', b'}',
                       b'X\xff\xff\xff\xff', b'r\xff\xff\xff\xff', b'\x8b\xff\xff\xff\x7f',
                       b'\x96' + b'\xff' * 8, b'\x8a\xff' + b'\xff' * 255]

    @staticmethod
    def _file(content: object, legacy: bool) -> bytes:
        file = io.BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=not legacy)
        return file.getvalue()

    def make(self, rng: random.Random) -> None:
        way, at = rng.random(), rng.randrange(len(self.contents))
        self.likely = (*self.networks, 'any')[at]
        if way < 0.3:
            kind = self.files[rng.random() < 0.6]
            content = mutated(kind[at], rng, kind)
        elif way < 0.6:   # zip archives have check sums: changed inside
            pickled = mutated(self.pickles[at], rng, self.pickles, self.tokens)
            content = self._zip_with(self.files[False][at], pickled, rng)
        elif way < 0.7:   # the pickles lie at the front of an old file
            file = self.files[True][at]
            content = mutated(file[:2000], rng, self.pickles, self.tokens) + file[2000:]
        elif way < 0.75:
            content = b'\x80\x02' + b''.join(rng.choice(self.tokens) for _ in range(rng.randrange(1, 40))) + b'.'
            content = content if rng.random() < 0.3 else self._zip_with(self.files[False][0], content, rng)
        else:
            content = self._file(self._content(rng, self.contents[at]), rng.random() < 0.5)
        self.path.write_bytes(content)

    def read(self, rng: random.Random) -> None:
        name = self.likely if rng.random() < 0.7 else rng.choice((*self.networks, 'vgg', 'any'))
        if name == 'any':
            load_file(self.path, '--checkpoint')
        elif name == 'vgg':
            load_vgg_weights(self.vgg, str(self.path))
        else:
            load_networks(self.path, {'a': self.networks[name], 'b': self.networks[name]}, '--checkpoint')
            if not all(value.isfinite().all() for value in self.networks[name].state_dict().values()):
                raise AssertionError('weights that are not finite were loaded')

    @staticmethod
    def _zip_with(file: bytes, pickled: bytes, rng: random.Random) -> bytes:
        made = io.BytesIO()
        how = rng.choice((zipfile.ZIP_STORED,) * 9 + (zipfile.ZIP_DEFLATED,))
        with zipfile.ZipFile(io.BytesIO(file)) as old, zipfile.ZipFile(made, 'w', how) as new:
            for part in old.infolist():
                content = pickled if part.filename.endswith('data.pkl') else old.read(part)
                if rng.random() < 0.98:
                    new.writestr(part.filename, content if rng.random() < 0.99 else content * 2)
        return made.getvalue()

    def _content(self, rng: random.Random, sound: dict) -> object:
        """A whole file's content with something odd in it."""
        content = {name: collections.OrderedDict(state) if isinstance(state, dict) else state
                   for name, state in sound.items()}
        name = rng.choice(list(content))
        keys = list(content[name]) if rng.random() < 0.8 else ['x', 1, (1, 2), None, True, b'x', 'é\n']
        key = rng.choice(keys)
        odd = self._odd(rng)
        where = rng.randrange(6)
        if where == 0:
            return odd
        if where == 1:
            content[rng.choice(('a', 'b', 'c', 5))] = odd
        elif where == 2:
            del content[name]
        elif where == 3 and key in content[name]:
            del content[name][key]
        else:
            content[name][key] = odd
        return content

    def _odd(self, rng: random.Random) -> object:
        weight, n = torch.ones(2, 3), rng.choice((2, 30, 60))
        pair = (1,)
        for _ in range(n):
            pair = (pair, pair)
        round_ = []
        round_.append(round_)
        shadowed = collections.OrderedDict(self.states['gen'])
        setattr(shadowed, rng.choice(('keys', 'values', '_metadata', 'x')), 5)
        sizes = rng.choice([(10 ** 9, 10 ** 9), (10 ** 11,), (2,)])
        ones = (1,) * len(sizes)
        made = rng.choice([
            lambda: Payload(self.marker, rng), lambda: Call(collections.OrderedDict, [[pair, 1]]), lambda: round_,
            lambda: shadowed, lambda: [pair],
            lambda: weight.as_strided(rng.choice([(10 ** 6, 10 ** 6), (3, 3)]), (0, 0)), lambda: weight.to_sparse(),
            lambda: weight.to(rng.choice((torch.complex64, torch.int64, torch.uint8, torch.float16, torch.bfloat16,
                                          torch.float64, torch.bool, torch.float8_e4m3fn, torch.uint16))),
            lambda: weight * rng.choice((float('nan'), float('inf'))), lambda: weight.to_sparse_csr(),
            lambda: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8), lambda: weight.to('meta'),
            lambda: torch.nn.Parameter(weight), lambda: torch.nested.nested_tensor([weight, weight]),
            lambda: np.float64(3), lambda: np.ones(3), lambda: {1, 2}, lambda: complex(1, 2), lambda: 10 ** 400,
            lambda: bytearray(5), lambda: b'bytes', lambda: torch.Size([1]), lambda: torch.float32,
            lambda: 'x' * 10 ** 6, lambda: torch.device('cuda:7'), lambda: collections.Counter('abc'),
            lambda: torch.nn.Linear(1, 1),
            lambda: Call(bytearray, 2 ** rng.choice((4, 36))), lambda: Call(torch.Tensor, *sizes),
            lambda: Call(torch._utils._rebuild_meta_tensor_no_storage, torch.float32, sizes, ones, False),
            lambda: Call(torch._utils._rebuild_tensor_v2, weight.untyped_storage(), 0, sizes, ones, False, {}),
            lambda: {i: i for i in range(10 ** 4)}, lambda: torch.ones(()), lambda: torch.ones((1,) * 60),
            lambda: None])
        return made()


# ---------------------------------------------------------------------------------------------------------------------
# Running
# ---------------------------------------------------------------------------------------------------------------------

KINDS = {'config': Configs, 'list': Lists, 'image': Images, 'checkpoint': Checkpoints}


class TooLong(BaseException):
    """Raised by the alarm; not an Exception, which readers turn into a refusal."""


def fault_of_line(error: BadInput, several: bool) -> str:
    """What is wrong with the text of a refusal; '' if nothing."""
    lines = str(error).split('\n')
    if len(lines) > 1 and not several:
        return 'a refusal of several lines'
    clean = all(0 < len(line) < 2000 and line.isprintable() for line in lines)
    return '' if clean else f'a refusal that is no clean line: {str(error)!r}'


@contextlib.contextmanager
def bounded_memory(mebibytes: int):
    """No more address space than now and so much. Only where Linux counts it."""
    if not sys.platform.startswith('linux'):
        yield
        return
    import resource
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + mebibytes * 2 ** 20, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextlib.contextmanager
def heard_stderr():
    """What the process writes to its stderr meanwhile, libraries in C as well: a function that returns what is new."""
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        place = 0

        def news() -> bytes:
            nonlocal place
            size = os.fstat(file.fileno()).st_size
            if size == place:
                return b''
            text = os.pread(file.fileno(), size - place, place)
            place = size
            return text

        try:
            yield news
        finally:
            os.dup2(before, 2)
            os.close(before)


def fuzz(kind: str, opts: argparse.Namespace) -> dict:
    """Read `opts.n` inputs of a kind. Returns counts, times, and a text for each failure."""
    counts, failures, slowest = collections.Counter(), [], 0.0

    def too_long(*_):
        raise TooLong

    signal.signal(signal.SIGALRM, too_long)
    shared = '/dev/shm' if os.path.isdir('/dev/shm') else None   # in memory, where writing a file takes no time
    with tempfile.TemporaryDirectory(dir=shared) as name, heard_stderr() as news:
        marker = Path(name) / 'executed'
        inputs = KINDS[kind](Path(name), marker)
        start = time.perf_counter()
        with bounded_memory(opts.memory):
            for number in range(opts.n):
                if opts.only is not None and number != opts.only:
                    continue
                rng = random.Random(f'{opts.seed} {kind} {number}')
                inputs.make(rng)
                news()   # of making it
                fault, began = '', time.perf_counter()
                if number % 50 == 0:   # for what does not return to Python, where an alarm would be heard
                    faulthandler.dump_traceback_later(60 * opts.seconds, exit=True, file=sys.__stdout__)
                signal.setitimer(signal.ITIMER_REAL, opts.seconds)
                try:
                    inputs.read(rng)
                    counts['read'] += 1
                except BadInput as error:
                    fault = fault_of_line(error, several=kind == 'config')
                    counts['refused'] += not fault
                except (Exception, TooLong):
                    fault = traceback.format_exc()
                signal.setitimer(signal.ITIMER_REAL, 0)
                seconds = time.perf_counter() - began
                slowest = max(slowest, seconds)
                fault = fault or (f'took {seconds:.1f} s' if seconds > opts.seconds else '')
                words = b'\n'.join(line for line in news().splitlines()
                                   if not re.search(b'passed over|a wrapped checkpoint', line))
                fault = fault or (f'words on stderr: {words.decode(errors="replace")}' if words else '')
                if marker.exists():
                    counts['executed'] += 1
                    fault = f'a payload ran\n{fault}'
                    marker.rmdir() if marker.is_dir() else marker.unlink()
                if fault:
                    kept = opts.keep / f'{kind}_{opts.seed}_{number}{inputs.path.suffix}'
                    opts.keep.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(inputs.path, kept)
                    failures.append(f'{kept}:\n{fault}')
        faulthandler.cancel_dump_traceback_later()
        rate = opts.n / (time.perf_counter() - start)
    return {'kind': kind, 'inputs': opts.n, 'read': counts['read'], 'refused': counts['refused'],
            'failed': len(failures), 'executed': counts['executed'], 'slowest s': f'{slowest:.2f}',
            'inputs/s': f'{rate:.0f}', 'failures': failures}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kind', choices=(*KINDS, 'all'), default='all')
    parser.add_argument('--n', type=at_least(1), default=5000, help='inputs of each kind')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--only', type=at_least(0), help='the one input of this number')
    parser.add_argument('--seconds', type=at_least(1), default=10, help='what an input may take')
    parser.add_argument('--memory', type=at_least(1), default=1024, help='MiB that an input may take')
    parser.add_argument('--keep', type=Path, default=Path('outputs/fuzz'), help='where inputs that failed are kept')
    opts = parser.parse_args(argv)
    torch.set_num_threads(1)
    results = [fuzz(kind, opts) for kind in ([opts.kind] if opts.kind != 'all' else KINDS)]
    for result in results:
        for failure in result.pop('failures'):
            print(failure)
    widths = [max(len(name), 10) for name in results[0]]
    for row in ([*results[0]], *([*result.values()] for result in results)):
        print('  '.join(str(cell).rjust(width) for cell, width in zip(row, widths, strict=True)))
    return int(any(result['failed'] for result in results))


if __name__ == '__main__':
    run_command(main)
