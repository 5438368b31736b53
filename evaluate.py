"""Evaluate one translation direction of a model; write a table, the same as JSON, and a contact sheet of outputs.

    python evaluate.py --config configs/demo_drawn_small.yaml --checkpoint gen_00003000.pt --a2b 1 \\
        --output_folder outputs/evaluation

Nothing is downloaded. A metric whose library or weights are missing is left out, and a message says what is missing
and where to put it. `pip install -r requirements/eval.txt` installs the libraries.
"""
import argparse
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from core.device import choose_device
from core.errors import BadInput, naming, shown
from core.files import given_files, make_folder, refuse_overwriting, write_text
from core.picture_sheet import sheet
from core.precision import PRECISIONS
from data import find_images
from engine.cli import DirectionParser, add_encoder_noise, at_least, run_command
from engine.config import config_for
from engine.methods import METHODS
from engine.translator import require_pictures
from extras.metrics import deep_metrics, ground_truth, own_metrics
from extras.metrics.classifier import SmallClassifier
from extras.metrics.deep_metrics import ALEXNET, FID_INCEPTION, LPIPS_HEADS, LPIPS_SMALLEST, Missing
from extras.metrics.image_features import expected_coverage
from utils import to_bytes, to_images, to_picture, write_output

LPIPS_PAIRS = 19                 # pairs of outputs per input (paper, section 5.3)
SCORE_SAMPLES = 100              # outputs per input for IS and CIS
SHEET_ROWS, SHEET_SAMPLES = 8, 6
EXPENSIVE = ('lpips', 'fid', 'scores')


class Row(NamedTuple):
    """A row of the table: the value of a metric for the model, for real images and for an untrained model."""
    name: str
    model: float
    real: float | None = None
    untrained: float | None = None
    better: str = ''           # 'higher', 'lower', or '' where neither is
    protocol: str = ''
    backbone: str = 'none'
    weights: str = 'none'


class Metric(NamedTuple):
    """A metric that needs no other network: name, function, which direction is better, and the fields of
    `Observations` that it reads.
    """
    name: str
    function: Callable
    better: str
    needs: tuple[str, ...]


OWN = (
    Metric('content kept', own_metrics.content_kept, 'higher', ('f1_sampled',)),
    Metric('content kept, guided', own_metrics.content_kept_guided, 'higher', ('f1_guided',)),
    Metric('colour error, guided', own_metrics.colour_error, 'lower', ('guided',)),
    Metric('colour error, sampled', own_metrics.colour_error_sampled, '', ('sampled', 'wanted')),
    Metric('colour error, guided / sampled', own_metrics.colour_error_ratio, 'lower', ('sampled', 'guided')),
    Metric('pattern agreement, guided', own_metrics.pattern_agreement, 'higher', ('guided',)),
    Metric('pattern agreement, sampled', own_metrics.pattern_agreement_sampled, '', ('sampled', 'wanted')),
    Metric('colour diversity', own_metrics.colour_diversity, 'higher', ('sampled',)),
    Metric('pixel diversity', own_metrics.pixel_diversity, 'higher', ('spread',)),
    Metric('pattern entropy', own_metrics.pattern_entropy, 'higher', ('sampled',)),
    Metric('coverage', own_metrics.coverage, 'higher', ('sampled',)),
    Metric('outside the real ones', own_metrics.outside, 'lower', ('sampled',)),
    Metric('reconstruction, source', own_metrics.recon_source, 'lower', ('recon_source',)),
    Metric('reconstruction, target', own_metrics.recon_target, 'lower', ('recon_target',)),
    Metric('content code error', own_metrics.content_recovery, 'lower', ('content_error',)),
    Metric('style code error', own_metrics.style_recovery, 'lower', ('found_styles',)),
    Metric('style code correlation', own_metrics.style_correlation, 'higher', ('found_styles',)),
)


def parse_arguments(argv: list[str] | None = None):
    parser = DirectionParser('Evaluate one translation direction of a model.', output_folder='outputs/evaluation')
    parser.add_argument('--data_root', help='a folder of testA and testB (and of trainA and trainB for FID), instead '
                                            "of the config's")
    parser.add_argument('--dirty_root', help='a folder with corrupted versions of the test images (scripts/'
                                             'draw_dirty_twin.py), to evaluate on them too')
    parser.add_argument('--num_inputs', type=at_least(1), default=100, help='number of test images to translate')
    parser.add_argument('--seed', type=at_least(0, 2 ** 32 - 1), default=0,
                        help='seed of sampled styles, example images and pairs')
    parser.add_argument('--precision', default='fp32', choices=PRECISIONS, help='number format of the translation')
    add_encoder_noise(parser)
    parser.add_argument('--without', nargs='+', default=[], choices=EXPENSIVE,
                        help='metrics to leave out, of those that take longest on a CPU: LPIPS, FID and KID, IS and '
                             'CIS')
    parser.add_argument('--alexnet', default='',
                        help=f'file {ALEXNET.name}, for LPIPS (default: in the cache of torch.hub)')
    parser.add_argument('--inception', default='',
                        help=f'file {FID_INCEPTION.name}, for FID and KID (default: in the cache of torch.hub)')
    parser.add_argument('--inception_a', default='', help='classifier of domain A, for IS and CIS with --a2b 0')
    parser.add_argument('--inception_b', default='', help='classifier of domain B, for IS and CIS with --a2b 1')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    opts = parse_arguments(argv)
    device = choose_device(opts.device)
    config = config_for(opts.config, opts.checkpoint, opts.trainer, {'data_root': opts.data_root})
    config['max_image_pixels'] = opts.max_image_pixels
    require_pictures(config, 'evaluate.py')
    images = find_test_images(config, opts)
    model = own_metrics.Model(config, opts.checkpoint, bool(opts.a2b), opts.trainer, device, opts.precision,
                          opts.encoder_noise)
    tools, left_out = load_tools(opts, images, device, model.forward.samples)
    folder = make_folder(opts.output_folder, '--output_folder')
    refuse_overwriting([folder / name for name in ('figures.json', 'sheet.png', 'sheet_dirty.png')],
                       [*images.inputs, *images.targets, *given_files(opts)], '--output_folder')

    lpips, fid, classifier = (tools.get(name) for name in EXPENSIVE)
    ten_outputs = TenOutputs(lpips, fid)
    seen = own_metrics.observe(model, images, opts.seed, 'translating', ten_outputs.visit)
    untrained = own_metrics.untrained_model(config, bool(opts.a2b), opts.trainer, device, opts.seed, opts.encoder_noise)
    floor = own_metrics.observe(untrained, images, opts.seed, 'untrained model')
    real = own_metrics.real_seen(images, opts.seed)

    rows = own_rows(seen, real, floor)
    if images.dirty_twins:
        of_dirty = TenOutputs(None, None)
        seen_dirty = own_metrics.observe(model, images, opts.seed, 'dirty inputs', of_dirty.visit, dirty=True)
        rows += dirty_rows(seen_dirty, seen)
    if lpips:
        rows += lpips_rows(lpips, ten_outputs, model, images, opts)
    if fid:
        rows += fid_rows(fid, ten_outputs, images, opts.seed)
    if classifier:
        rows += score_rows(classifier, model, images, opts.seed)
    styles = style_table(model, untrained, images) if images.has_colours and model.method.guided else None
    left_out += own_left_out(images, opts)
    if styles and styles.explained is None:
        dimensions = len(styles.correlations)
        left_out.append(f'explained variance of true factors: left out: a regression on {dimensions} style dimensions '
                        f'fits {len(images.targets)} real test images by chance; it needs at least {dimensions + 2}')

    settings = describe(opts, images, device)
    print_table(rows, styles, settings, left_out)
    write_json(folder / 'figures.json', rows, styles, settings, left_out)
    write_sheet(folder / 'sheet.png', ten_outputs.rows, images)
    if images.dirty_twins:
        write_sheet(folder / 'sheet_dirty.png', of_dirty.rows, images)
    guided = 'guide, guided output, ' if model.method.guided else ''
    columns = f'input, {guided}{"sampled outputs" if model.forward.samples else "output"}'
    print(f'\nwrote {folder / "figures.json"} and {folder / "sheet.png"} (columns: {columns})')


def find_test_images(config: dict, opts: argparse.Namespace) -> own_metrics.TestImages:
    """The test images.

    Raises:
        BadInput: there are none, or they cannot be read; it names the flag.
    """
    source = f'--data_root {shown(opts.data_root)}:' if opts.data_root else (
        f'--config {shown(opts.config or opts.checkpoint)}: data_root:')
    with naming(source):
        return own_metrics.TestImages(config, bool(opts.a2b), opts.num_inputs, opts.seed, opts.dirty_root)


# ---------------------------------------------------------------------------------------------------------------------
# Networks that metrics use
# ---------------------------------------------------------------------------------------------------------------------

class Tool(NamedTuple):
    """A network that a metric uses, and the name of its weights."""
    network: Callable
    weights: str


def load_tools(opts: argparse.Namespace, images: own_metrics.TestImages, device: torch.device, samples: bool = True
               ) -> tuple[dict[str, Tool], list[str]]:
    """The available networks for LPIPS, FID and IS, and a message for each that is not available.

    Args:
        samples: whether the method has several outputs per input.

    Raises:
        BadInput: a file that the user names does not hold the weights that its flag asks for.
    """
    def load_lpips() -> Tool:
        if not samples:
            raise Missing(f'{opts.trainer} has one output per input, so its diversity is 0')
        if min(images.height, images.width) < LPIPS_SMALLEST:
            raise Missing(f'AlexNet requires images of at least {LPIPS_SMALLEST}×{LPIPS_SMALLEST} pixels; these have '
                          f'{images.height}×{images.width}')
        deep_metrics.require('lpips')
        path = ALEXNET.find(opts.alexnet, '--alexnet')
        return Tool(deep_metrics.Lpips(path, '--alexnet', device), ALEXNET.describe(path))

    def load_fid() -> Tool:
        try:
            find_images(images.config, 'train', images.target)
        except BadInput as error:
            raise Missing(str(error)) from None
        deep_metrics.require('torch_fidelity')
        path = FID_INCEPTION.find(opts.inception, '--inception')
        return Tool(deep_metrics.FidFeatures(path, '--inception', device), FID_INCEPTION.describe(path))

    def load_scores() -> Tool:
        flag, path = ('--inception_b', opts.inception_b) if opts.a2b else ('--inception_a', opts.inception_a)
        if not path:
            raise Missing(f"they need a classifier of the target domain's classes; train one with "
                          f'scripts/train_classifier.py and name it with {flag} FILE')
        network = deep_metrics.load_inception(path, flag).to(device)
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return Tool(network, f'{shown(Path(path).name)} (SHA-256 {digest[:8]}…, {network.fc.out_features} classes)')

    tools, left_out = {}, []
    loads = {'lpips': ('LPIPS', load_lpips), 'fid': ('FID and KID', load_fid), 'scores': ('IS and CIS', load_scores)}
    for key, (name, load) in loads.items():
        try:
            if key in opts.without:
                raise Missing(f'as --without {key} asks')
            tools[key] = load()
        except Missing as reason:
            left_out.append(f'{name}: left out: {reason}')
    return tools, left_out


class TenOutputs:
    """Collects, from each batch with ten sampled outputs per input, LPIPS distances over all pairs, features for FID,
    and rows of the contact sheet.
    """

    def __init__(self, lpips: Tool | None, fid: Tool | None):
        self.lpips, self.fid = lpips, fid
        self.distances, self.features, self.rows = [], [], []

    def visit(self, batch: range, x: Tensor, outputs: Tensor, guided: Tensor | None) -> None:
        if self.lpips:
            pairs = deep_metrics.all_pairs(outputs.shape[1])
            self.distances += [self.lpips.network(output, pairs).mean(0) for output in outputs]
        if self.fid:
            self.features.append(self.fid.network(to_bytes(to_picture(outputs.flatten(0, 1)))))
        for k, i in enumerate(batch):
            if i < SHEET_ROWS:
                self.rows.append((i, x[k], None if guided is None else guided[k], outputs[k, :SHEET_SAMPLES]))


# ---------------------------------------------------------------------------------------------------------------------
# Rows of the table
# ---------------------------------------------------------------------------------------------------------------------

def own_rows(seen: own_metrics.Observations, real: own_metrics.Observations, floor: own_metrics.Observations
             ) -> list[Row]:
    """The metrics that need no other network.

    Args:
        seen, real, floor: observations of the model, of real images and of the untrained model.
    """
    expected = expected_coverage(own_metrics.real_bins(real), own_metrics.COVERAGE_SAMPLES) if real.guided else None
    rows = []
    for own in OWN:
        of_real = (real,) if own.function in (own_metrics.coverage, own_metrics.outside) else ()
        if not all(getattr(seen, name) for name in own.needs):
            continue
        ceiling = None
        if of_real:
            ceiling = expected.reached if own.function is own_metrics.coverage else expected.outside
        elif all(getattr(real, name) for name in own.needs):
            ceiling = own.function(real)
        rows.append(Row(own.name, own.function(seen, *of_real), ceiling, own.function(floor, *of_real), own.better,
                        ' '.join((own.function.__doc__ or '').split())))
    return rows


DIRTY = (
    Metric('content kept', own_metrics.content_kept, 'higher', ('f1_sampled',)),
    Metric('content kept, guided', own_metrics.content_kept_guided, 'higher', ('f1_guided',)),
    Metric('colour error, guided', own_metrics.colour_error, 'lower', ('guided',)),
    Metric('reconstruction, source', own_metrics.recon_source, 'lower', ('recon_source',)),
)


def dirty_rows(dirty: own_metrics.Observations, clean: own_metrics.Observations) -> list[Row]:
    """Metrics of outputs from corrupted inputs, and their ratio to the same metrics of outputs from clean inputs."""
    rows = []
    for own in DIRTY:
        if all(getattr(dirty, name) for name in own.needs):
            value = own.function(dirty)
            text = f'As {own.name} above, for corrupted inputs; outputs are compared with the clean images'
            rows.append(Row(f'dirty: {own.name}', value, better=own.better, protocol=text))
            rows.append(Row(f'dirty: {own.name} / clean', value / max(own.function(clean), 1e-9),
                            protocol=f'{text}, divided by the value for clean inputs. 1: corruption has no effect'))
    return rows


def own_left_out(images: own_metrics.TestImages, opts: argparse.Namespace) -> list[str]:
    """A message for each kind of metric that this data or this method does not support."""
    lines = []
    if not images.counterparts:
        lines.append(f'colours, patterns, coverage, values of real images and true factors: left out: they need a '
                     f'{ground_truth.FILE_NAME} in the data folder that names the test images; '
                     f'scripts/draw_demo_data.py draws such data')
    elif not images.has_colours:
        lines.append('colours, patterns, coverage and true factors: left out: they are measured on coloured outputs, '
                     'with --a2b 1')
    if not METHODS[opts.trainer].guided:
        lines.append(f'guided outputs and style codes: left out: {opts.trainer} has no styles')
    if not METHODS[opts.trainer].autoencodes:
        lines.append(f'reconstruction and content codes: left out: {opts.trainer} does not encode and decode within a '
                     f'domain')
    return lines


@torch.inference_mode()
def lpips_rows(tool: Tool, ten_outputs: TenOutputs, model: own_metrics.Model, images: own_metrics.TestImages,
               opts: argparse.Namespace) -> list[Row]:
    """LPIPS diversity by the paper's protocol and by that of StarGAN v2, and of real images of the target domain."""
    pairs, generator = deep_metrics.consecutive_pairs(LPIPS_PAIRS), torch.Generator().manual_seed(opts.seed + 1)

    def outputs() -> Iterator[Tensor]:
        for path in tqdm(images.inputs, desc='LPIPS pairs', unit=' inputs', disable=None, dynamic_ncols=True):
            styles = model.forward.draw_styles(2 * LPIPS_PAIRS, generator=generator)
            yield model.forward.translate_batch(images.read(images.source, [path]), styles)[0]

    def real_pictures() -> Iterator[Tensor]:
        for _ in images.inputs:
            chosen = [torch.randperm(len(images.targets), generator=generator)[:2].tolist() for _ in pairs]
            yield images.read(images.target, [images.targets[i] for two in chosen for i in two])

    n = len(images.inputs)
    by_paper = deep_metrics.mean_distance(tool.network, outputs(), pairs)
    several = len(images.targets) > 1
    of_real = deep_metrics.mean_distance(tool.network, real_pictures(), pairs) if several else None
    of_ten = torch.stack(ten_outputs.distances).mean(0)
    rows = []
    for k, head in enumerate(LPIPS_HEADS):
        real = of_real[k].item() if several else None
        common = {'better': 'higher', 'backbone': f'AlexNet, LPIPS heads {head}', 'weights': tool.weights}
        rows.append(Row(
            f'LPIPS diversity {head}, paper', by_paper[k].item(), real, protocol=f'mean LPIPS of {n} inputs × '
            f'{LPIPS_PAIRS} random pairs of outputs. Real: as many random pairs of real test images of the target '
            f'domain', **common))
        rows.append(Row(
            f'LPIPS diversity {head}, StarGAN v2', of_ten[k].item(), real, protocol=f'mean LPIPS of {n} inputs × '
            f'all {len(deep_metrics.all_pairs(own_metrics.NUM_SAMPLES))} pairs of {own_metrics.NUM_SAMPLES} outputs. '
            f'Real: as above', **common))
    return rows


def fid_rows(tool: Tool, ten_outputs: TenOutputs, images: own_metrics.TestImages, seed: int) -> list[Row]:
    """FID and KID between all sampled outputs and the real training and test images of the target domain."""
    def features_of(paths: Sequence[Path], name: str) -> Tensor:
        parts = []
        for at in tqdm(range(0, len(paths), deep_metrics.IMAGES_AT_ONCE), desc=name, disable=None, dynamic_ncols=True):
            batch = images.read(images.target, paths[at:at + deep_metrics.IMAGES_AT_ONCE])
            parts.append(tool.network(to_bytes(to_picture(batch))))
        return torch.cat(parts)

    samples = torch.cat(ten_outputs.features)
    test = features_of(images.targets, 'features of the test set')
    train = features_of(find_images(images.config, 'train', images.target), 'features of the train set')
    common = {'better': 'lower', 'backbone': 'Inception-v3 of 2015, 2048 features (torch-fidelity)',
              'weights': tool.weights}
    few = ', fewer than its 2048 dimensions, so not comparable with published values' if len(samples) < 2048 else ''
    real_fid, (real_kid, _) = deep_metrics.fid(test, train), deep_metrics.kid(test, train, seed)
    rows = []
    for name, features in (('train', train), ('test', test)):
        sizes = f'between {len(samples)} sampled outputs and {len(features)} real {name} images, all with 8 bits'
        rows.append(Row(f'FID, {name} set', deep_metrics.fid(samples, features), real_fid,
                        protocol=f'FID {sizes}{few}. Real: between the test set and the train set', **common))
        value, size = deep_metrics.kid(samples, features, seed)
        rows.append(Row(f'KID, {name} set', value, real_kid, protocol=f'KID {sizes}, mean of '
                        f'{deep_metrics.KID_SUBSETS} subsets of {size}. Real: between the test set and the train '
                        f'set', **common))
    return rows


@torch.inference_mode()
def score_rows(tool: Tool, model: own_metrics.Model, images: own_metrics.TestImages, seed: int) -> list[Row]:
    """IS and CIS of 100 outputs per input, as the paper defines them and as the original code prints them."""
    generator, probabilities = torch.Generator().manual_seed(seed + 2), []
    sampled = model.forward.samples
    num_samples = SCORE_SAMPLES if sampled else 1
    with tqdm(total=len(images.inputs), desc='IS and CIS', unit=' inputs', disable=None, dynamic_ncols=True) as bar:
        for batch in images.batches(num_samples):
            x = images.read(images.source, [images.inputs[i] for i in batch])
            styles = model.forward.draw_styles(len(batch), num_samples, generator=generator) if sampled else None
            outputs = model.forward.translate_batch(x, styles)
            found = deep_metrics.class_probabilities(tool.network, outputs.flatten(0, 1))
            probabilities += list(found.split(num_samples))
            bar.update(len(batch))
    real = torch.cat([
        deep_metrics.class_probabilities(tool.network, images.read(images.target, [path]).to(model.device))
        for path in images.targets])
    together, n = torch.cat(probabilities), len(images.inputs)
    small = isinstance(tool.network, SmallClassifier)
    common = {'better': 'higher', 'backbone': 'small classifier' if small else 'Inception-v3', 'weights': tool.weights}
    of = f'{n} inputs × {num_samples} samples'
    return [
        Row('IS, paper', deep_metrics.mean_divergence(together), deep_metrics.mean_divergence(real),
            protocol=f'mean KL divergence of p(y|x) from its mean over all outputs, {of}. Real: the test set',
            **common),
        Row('CIS, paper', deep_metrics.conditional_mean_divergence(probabilities), protocol=f'mean KL divergence of '
            f"p(y|x) from its mean over one input's outputs, {of}", **common),
        Row('IS, as the original prints', deep_metrics.inception_score(together), deep_metrics.inception_score(real),
            protocol='exp of the IS of the paper', **common),
        Row('CIS, as the original prints', deep_metrics.conditional_inception_score(probabilities),
            protocol='exp of the CIS of the paper', **common)]


class StyleTable(NamedTuple):
    """Correlations of style dimensions with true factors, (style_dim, factors), and the share of each factor's variance
    that they explain, (factors,), or None where there are too few images.
    """
    correlations: Tensor
    explained: Tensor | None
    explained_untrained: Tensor | None


def style_table(model: own_metrics.Model, untrained: own_metrics.Model, images: own_metrics.TestImages) -> StyleTable:
    """How style codes of real images depend on the images' true factors, for the model and for an untrained one."""
    return StyleTable(*own_metrics.style_factors(model, images), own_metrics.style_factors(untrained, images)[1])


# ---------------------------------------------------------------------------------------------------------------------
# Output
# ---------------------------------------------------------------------------------------------------------------------

def describe(opts: argparse.Namespace, images: own_metrics.TestImages, device: torch.device) -> dict:
    """The settings that all metrics share."""
    return {'config': opts.config, 'checkpoint': opts.checkpoint, 'trainer': opts.trainer, 'a2b': opts.a2b,
            'data': str(images.inputs[0].parent), 'dirty_root': opts.dirty_root, 'num_inputs': len(images.inputs),
            'num_targets': len(images.targets), 'resolution': f'{images.height}×{images.width}',
            'seed': opts.seed, 'precision': opts.precision, 'device': str(device),
            **({'encoder_noise': True} if opts.encoder_noise else {})}


def print_table(rows: list[Row], styles: StyleTable | None, settings: dict, left_out: list[str]) -> None:
    """Print the metrics, their definitions, and what was left out."""
    def cell(value: float | None) -> str:
        return f'{value:10.4f}' if value is not None else f'{"–":>10}'

    direction = 'A to B' if settings['a2b'] else 'B to A'
    print(f'{settings["checkpoint"]}: {direction}, {settings["num_inputs"]} inputs from {settings["data"]}, '
          f'{settings["resolution"]}, {settings["precision"]}, seed {settings["seed"]}\n')
    width = max(len(row.name) for row in rows)
    print(f'{"":{width}}  {"model":>10}{"real":>10}{"untrained":>10}')
    for number, row in enumerate(rows, start=1):
        better = f'  {row.better} is better' if row.better else ''
        print(f'{row.name:{width}}  {cell(row.model)}{cell(row.real)}{cell(row.untrained)}  [{number}]{better}')
    if styles:
        print('\nCorrelation of style dimensions with true factors over the real test images:')
        print(' ' * 12 + ''.join(f'{name:>11}' for name in ground_truth.FACTORS))
        for number, line in enumerate(styles.correlations.tolist()):
            print(f'dimension {number:2}' + ''.join(f'{value:11.2f}' for value in line))
        if styles.explained is not None and styles.explained_untrained is not None:
            for name, line in (('explained', styles.explained), ('untrained', styles.explained_untrained)):
                print(f'{name:12}' + ''.join(f'{value:11.2f}' for value in line.tolist()))
            print("(explained: share of a factor's variance that a linear regression on all dimensions predicts, "
                  "leave-one-out)")
    print()
    for number, row in enumerate(rows, start=1):
        network = f' {row.backbone}; weights: {row.weights}.' if row.backbone != 'none' else ''
        print(f'[{number}] {row.name}: {row.protocol.rstrip(".")}.{network}')
    for line in left_out:
        print(line)


def write_json(path: Path, rows: list[Row], styles: StyleTable | None, settings: dict, left_out: list[str]) -> None:
    """Write the table as JSON, each metric with its settings.

    Raises:
        BadInput: the file cannot be written.
    """
    common = {key: settings[key] for key in ('resolution', 'seed', 'num_inputs')}
    content = {'settings': settings, 'figures': [{**row._asdict(), **common} for row in rows], 'left_out': left_out}
    if styles:
        content['style_factors'] = {'factors': ground_truth.FACTORS, **{
            key: value.tolist() for key, value in styles._asdict().items() if value is not None}}
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + '\n')


def write_sheet(path: Path, rows: list[tuple], images: own_metrics.TestImages) -> None:
    """Write a contact sheet with one row per input: input, example image, guided output, sampled outputs."""
    lines = []
    for i, x, guided, outputs in rows:
        parts = [x[None], *([] if guided is None else [images.read(images.target, [images.guides[i]]), guided[None]]),
                 outputs]
        lines.append([image for part in parts for image in to_images(part)])
    write_output(sheet(lines, gap=0), path)


if __name__ == '__main__':
    run_command(main)
