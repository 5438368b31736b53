"""Time the translation of a folder: one output at a time in fp32, as the original does, against test_batch.py.

    python benchmarks/translation.py --size 256 --dim 64 --images 16 --styles 10 --output MACHINE.json
    python benchmarks/translation.py --startup    # the phases of one call of test.py

The original's way is computed with our networks: an image is read, its content and style are encoded, and then an
output is decoded and written for each style. Both are timed alternately in one process, on generated JPEG files in a
temporary folder, and medians are reported. Weights are random, which does not affect the time.
"""
import argparse
import contextlib
import io
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/edges2shoes_folder.yaml'
PHASES = ('start', 'import', 'build', 'load', 'compute', 'rest')
sys.path.insert(0, str(ROOT))


def prepare(folder: Path, size: int, dim: int, images: int) -> tuple[Path, Path]:
    """Write the standard config with `dim` filters, a checkpoint with random weights, and images in `in/`. Returns the
    paths of config and checkpoint.
    """
    import numpy as np
    import torch
    import yaml
    from PIL import Image

    from networks import AdaINGen
    config = {**yaml.safe_load((ROOT / CONFIG).read_text()), 'new_size': size, 'data_root': str(folder)}
    config['crop_image_height'] = config['crop_image_width'] = size
    config['gen']['dim'] = dim
    (folder / 'config.yaml').write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    torch.save({name: AdaINGen(3, config['gen']).state_dict() for name in 'ab'}, folder / 'gen.pt')
    (folder / 'in').mkdir()
    for i in range(images):
        small = np.random.RandomState(i).randint(0, 256, (9, 9, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)
        picture.save(folder / 'in' / f'{i:05d}.jpg', quality=95)
    return folder / 'config.yaml', folder / 'gen.pt'


def machine() -> dict:
    import torch
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {'device': name, 'threads': torch.get_num_threads(), 'torch': torch.__version__}


# -- a folder ---------------------------------------------------------------------------------------------------------

def translate_one_by_one(generators: dict, translator, paths: list[Path], folders: list[Path], opts) -> None:
    """Translate as the original does: sequentially, one output at a time."""
    import torch

    from utils import to_bytes, to_picture, write_picture
    for path in paths:
        image = translator.read(path, 'a', opts.new_size)
        styles = translator.draw_styles(opts.num_style)
        with torch.inference_mode():
            content, _ = generators['a'].encode(image.to(translator.device))
            for folder, style in zip(folders, styles.split(1), strict=True):
                output = generators['b'].decode(content, style)[0]
                write_picture(to_bytes(to_picture(output, opts.normalize)), folder / path.name)


def measure_folder(opts) -> dict:
    """Images per second of both ways: medians, and the median ratio of neighbouring runs, which see the same load."""
    import torch

    import test_batch
    from core.checkpoints import load_networks
    from core.precision import set_precision
    from engine.config import load_config
    from engine.translator import Translator
    from networks import AdaINGen

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config_file, checkpoint = prepare(folder, opts.size, opts.dim, opts.images)
        arguments = ['--config', str(config_file), '--checkpoint', str(checkpoint), '--output_only', '--input_folder',
                     str(folder / 'in'), '--output_folder', str(folder / 'out'), '--num_style', str(opts.styles),
                     '--batch_size', str(opts.batch_size), '--precision', opts.precision]
        flags = test_batch.parse_arguments(arguments)
        device, config = torch.device(opts.device), load_config(flags.config, 'MUNIT')
        generators = {key: AdaINGen(3, config['gen']).to(device).eval() for key in 'ab'}
        load_networks(checkpoint, generators)
        translator = Translator(config, checkpoint, True, 'MUNIT', device, opts.precision, opts.compile)
        paths, folders = test_batch.list_images(flags.input_folder), test_batch.make_output_folders(flags, True)

        def one_by_one() -> None:
            set_precision('fp32')
            translate_one_by_one(generators, translator, paths, folders, flags)

        def batched() -> None:
            set_precision(opts.precision)
            with contextlib.redirect_stderr(io.StringIO()):
                test_batch.translate_all(translator, paths, folders, flags)

        rates = {'one_by_one': [], 'batched': []}
        for repeat in range(opts.repeats + 1):
            for way, run in (('one_by_one', one_by_one), ('batched', batched)):
                start = time.perf_counter()
                run()   # returns when the last output is written
                if repeat:   # the first is a warm-up
                    rates[way].append(opts.images / (time.perf_counter() - start))
    report = {**machine(), **{key: getattr(opts, key) for key in (
        'size', 'dim', 'images', 'styles', 'batch_size', 'precision', 'compile', 'repeats')}}
    report |= {f'{way}_images_per_s': statistics.median(values) for way, values in rates.items()}
    report['ratio'] = statistics.median(b / a for a, b in zip(rates['one_by_one'], rates['batched'], strict=True))
    print('{size}×{size}, dim {dim}, {images} images of {styles} styles: one by one {one_by_one_images_per_s:.3f} '
          'images/s, test_batch.py {batched_images_per_s:.3f} images/s, ratio {ratio:.2f}'.format(**report))
    return report


# -- one call of test.py ----------------------------------------------------------------------------------------------

def run_test_command(arguments: list[str]) -> None:
    """Run test.py in this process and print the seconds of its phases as JSON."""
    seconds, begin = dict.fromkeys(PHASES, 0.0), time.perf_counter()
    import test as command
    from engine import translator
    seconds['import'] = time.perf_counter() - begin

    def timed(phase: str, function):
        def run(*arguments, **options):
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                seconds[phase] += time.perf_counter() - start
        return run

    whole = timed('build', translator.Translator.__init__)
    with mock.patch.object(translator, 'read_networks', timed('load', translator.read_networks)), \
            mock.patch.object(translator, 'place', timed('load', translator.place)), \
            mock.patch.object(translator.Translator, '__init__', whole), \
            mock.patch.object(translator.Translator, 'translate', timed('compute', translator.Translator.translate)), \
            contextlib.redirect_stdout(io.StringIO()):
        command.main(arguments)
    seconds['build'] -= seconds['load']
    seconds['rest'] = time.perf_counter() - begin - sum(seconds.values())
    print(json.dumps(seconds))


def measure_startup(opts) -> dict:
    """Median seconds of each phase of test.py. `start` is the interpreter's startup and shutdown."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config_file, checkpoint = prepare(folder, opts.size, opts.dim, 1)
        arguments = ['--config', str(config_file), '--checkpoint', str(checkpoint), '--device', opts.device, '--input',
                     str(folder / 'in' / '00000.jpg'), '--output_folder', str(folder / 'out'), '--num_style',
                     str(opts.styles), '--precision', opts.precision]
        runs = []
        for _ in range(opts.repeats + 1):
            start = time.perf_counter()
            found = json.loads(subprocess.check_output([sys.executable, __file__, '--call', *arguments], text=True))
            runs.append({**found, 'start': time.perf_counter() - start - sum(found.values())})
    report = {**machine(), 'size': opts.size, 'dim': opts.dim, 'styles': opts.styles, 'repeats': opts.repeats}
    report |= {f'{phase}_s': statistics.median(run[phase] for run in runs[1:]) for phase in PHASES}
    print(f'test.py, {opts.size}×{opts.size}, dim {opts.dim}, {opts.styles} styles: '
          + ', '.join(f'{phase} {report[f"{phase}_s"]:.3f} s' for phase in PHASES))
    return report


def main() -> int:
    if sys.argv[1:2] == ['--call']:
        run_test_command(sys.argv[2:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--size', type=int, default=256)
    parser.add_argument('--dim', type=int, default=64)
    parser.add_argument('--images', type=int, default=16)
    parser.add_argument('--styles', type=int, default=10)
    parser.add_argument('--batch_size', type=int, default=8)
    parser.add_argument('--precision', default='fp32', help='precision of test_batch.py; one by one is always fp32')
    parser.add_argument('--compile', action='store_true')
    parser.add_argument('--device', default='')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--startup', action='store_true', help='time test.py instead')
    parser.add_argument('--output', help='JSON file to write')
    opts = parser.parse_args()
    import torch
    opts.device = opts.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    report = measure_startup(opts) if opts.startup else measure_folder(opts)
    if opts.output:
        Path(opts.output).write_text(json.dumps(report, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
