"""Metrics of one translation direction that need no other network: from pixels, true factors and the model's own codes.

Each metric is a function of `Observations`, which `observe` collects from a model's outputs. A metric's docstring is
its definition and is printed with its value. Applied to `real_seen`, whose "outputs" are real images, the same
functions give the best values that can be expected; applied to an untrained model, the worst.
"""
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from core.errors import BadInput, shown
from data import find_images, new_size_of, read_tensor, transform_of
from engine.methods import METHODS, translator_class
from engine.translator import make_translator
from extras.metrics import image_features
from extras.metrics.ground_truth import Factors, correlations, explained, read_factors
from extras.metrics.image_features import Palette, colour_bin, edge_f1, edges, palette, pattern_of, to_lab, tolerance_of

NUM_SAMPLES = 10                  # sampled styles per input
PIXELS_HELD = 48 * 256 * 256      # of outputs in memory at once
COVERAGE_SAMPLES = 100
GROUPS_OF_REAL = 100              # groups of ten real images, each of which stands for the outputs of one input


class Model:
    """A checkpoint as the metrics need it: translation in one direction, and encoding and reconstruction in both
    domains.

    Arguments and errors are those of `Translator`.
    """

    def __init__(self, config: dict, checkpoint: str, a2b: bool, trainer: str, device: torch.device,
                 precision: str = 'fp32', encoder_noise: bool = False):
        self.trainer, self.method, self.device = trainer, METHODS[trainer], device
        self.forward = make_translator(config, checkpoint, a2b, trainer, device, precision, encoder_noise=encoder_noise)
        if self.method.autoencodes:
            self.backward = make_translator(config, checkpoint, not a2b, trainer, device, precision)

    def content(self, images: Tensor, of_target: bool = False) -> Tensor:
        """The content code of images (N, C, H, W) of the source domain, or of the target domain."""
        translator = self.backward if of_target else self.forward
        gen = translator.source_gen
        return (gen.enc_content if self.trainer == 'MUNIT' else gen.enc)(images.to(self.device)).float()

    def reconstruct(self, images: Tensor, of_target: bool) -> Tensor:
        """Images (N, C, H, W), encoded and decoded within their own domain."""
        decoder = self.forward if of_target else self.backward
        content = self.content(images, of_target)
        if self.trainer == 'UNIT':
            return decoder.target_gen.decode(content)
        return decoder.target_gen.decode(content, decoder.encode_style(images))


def untrained_model(config: dict, a2b: bool, trainer: str, device: torch.device, seed: int,
                    encoder_noise: bool = False) -> Model:
    """A model of this config with the weights that training starts from."""
    torch.manual_seed(seed)
    translator = translator_class(trainer)
    networks = translator.networks(config, trainer)
    for network in networks.values():
        network.apply(translator.initial(config))
    with tempfile.TemporaryDirectory() as folder:
        torch.save({name: network.state_dict() for name, network in networks.items()}, Path(folder) / 'gen.pt')
        return Model(config, str(Path(folder) / 'gen.pt'), a2b, trainer, device, encoder_noise=encoder_noise)


class TestImages:
    """The test images of one direction: inputs, example images, and the true factors where the data was drawn.

    All images are resized to the config's `new_size` and cropped from the centre to its crop size.

    Args:
        config: as `config.load_config` returns it.
        num_inputs: how many inputs to translate, from the first one on.
        seed: of the choice of example images: each input gets an image of the target domain other than its own
            counterpart.
        dirty_root: a folder whose testA (or testB) holds corrupted versions of the inputs under the same names.

    Raises:
        BadInput: there are no test images, an input has no corrupted version in `dirty_root`, or factors_test.json is
            not a file that scripts/draw_demo_data.py wrote.
    """

    __test__ = False   # pytest would collect the class because of its name

    def __init__(self, config: dict, a2b: bool, num_inputs: int, seed: int, dirty_root: str | None = None):
        self.config = config
        self.source, self.target = ('a', 'b') if a2b else ('b', 'a')
        self.height, self.width = config['crop_image_height'], config['crop_image_width']
        self.inputs = find_images(config, 'test', self.source)[:num_inputs]
        self.targets = find_images(config, 'test', self.target)
        self.factors = read_factors(config['data_root']) if 'data_root' in config else {}
        of_name = {path.name: path for path in self.targets}
        paired = all(path.name in self.factors and path.name in of_name for path in self.inputs)
        self.counterparts = [of_name[path.name] for path in self.inputs] if paired and self.factors else []
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.targets), generator=generator).tolist()
        guides = [self.targets[order[i % len(order)]] for i in range(len(self.inputs))]
        for i, path in enumerate(self.inputs):
            if guides[i].name == path.name and len(order) > 1:
                guides[i] = self.targets[order[(i + 1) % len(order)]]
        self.guides = guides
        self.dirty_twins = {}
        if dirty_root:
            folder = Path(dirty_root) / f'test{self.source.upper()}'
            self.dirty_twins = {path: folder / path.name for path in self.inputs}
            for twin in self.dirty_twins.values():
                if not twin.is_file():
                    raise BadInput(f'{shown(twin)} is missing; scripts/draw_dirty_twin.py makes the corrupted version '
                                   f'of a test set')
        self._masks = {}

    @property
    def has_colours(self) -> bool:
        """Whether the true colour and pattern of each test image are known."""
        return bool(self.counterparts) and self.target == 'b' and self.config['input_dim_b'] == 3 and \
            all(path.name in self.factors for path in self.targets)

    def read(self, domain: str, paths: Sequence[Path]) -> Tensor:
        """Images of domain 'a' or 'b': (N, C, H, W) in [-1, 1]."""
        transform = transform_of(self.config, domain, crop=(self.height, self.width))
        return torch.stack([read_tensor(path, self.config, domain, transform) for path in paths])

    def read_dirty(self, paths: Sequence[Path]) -> Tensor:
        """The corrupted versions of inputs: (N, C, H, W) in [-1, 1]."""
        return self.read(self.source, [self.dirty_twins[path] for path in paths])

    def factors_of(self, path: Path) -> Factors:
        """The true factors of a test image."""
        return self.factors[path.name]

    def mask_of(self, path: Path) -> Tensor:
        """The mask of the object's body in a test image: (H, W), bool."""
        if path.name not in self._masks:
            factors = self.factors[path.name]
            self._masks[path.name] = factors.body_mask(new_size_of(self.config, 'b'), self.height, self.width)
        return self._masks[path.name]

    def batches(self, num_outputs: int) -> Iterator[range]:
        """The positions of the inputs, in batches such that `num_outputs` outputs of each fit into memory."""
        size = max(1, PIXELS_HELD // (num_outputs * self.height * self.width))
        return (range(i, min(i + size, len(self.inputs))) for i in range(0, len(self.inputs), size))


@dataclass
class Observations:
    """What `observe` measures on a model's outputs: lists with one entry per input, empty where it does not apply.

    `sampled` and `guided` hold the colours and the pattern of the object's body in each output.
    """
    f1_sampled: list[float] = field(default_factory=list)
    f1_guided: list[float] = field(default_factory=list)
    sampled: list[list[tuple[Palette, str]]] = field(default_factory=list)
    guided: list[tuple[Palette, str]] = field(default_factory=list)
    wanted: list[Factors] = field(default_factory=list)        # true factors of the example images
    spread: list[float] = field(default_factory=list)          # mean squared ΔE between pixels of sampled outputs
    recon_source: list[float] = field(default_factory=list)
    recon_target: list[float] = field(default_factory=list)
    styles: list[Tensor] = field(default_factory=list)         # sampled styles, (S, style_dim)
    found_styles: list[Tensor] = field(default_factory=list)   # styles encoded from the outputs, (S, style_dim)
    content_error: list[float] = field(default_factory=list)   # relative error of the content code after translation


def look_at(picture: Tensor, mask: Tensor) -> tuple[Palette, str] | None:
    """Main colours and pattern of the masked part of an image (3, H, W) in [-1, 1]; None where the mask is empty."""
    if not mask.any():
        return None
    lab = to_lab(picture[None].cpu())[0]
    return palette(lab[:, mask].T), pattern_of(lab, mask)


@torch.inference_mode()
def observe(model: Model, images: TestImages, seed: int, name: str,
            visit: Callable[[range, Tensor, Tensor, Tensor | None], None] = lambda *_: None, dirty: bool = False
            ) -> Observations:
    """Translate the inputs with sampled styles and with the styles of their example images, and measure the outputs.

    Args:
        seed: of the sampled styles.
        name: of the progress bar.
        visit: called for each batch with positions, inputs (N, C, H, W), sampled outputs (N, S, C, H, W) and guided
            outputs (N, C, H, W) or None.
        dirty: translate the corrupted versions of the inputs; outputs are still compared with the clean inputs.
    """
    seen, generator = Observations(), torch.Generator().manual_seed(seed)
    sampled, guides = model.forward.samples, model.method.guided
    num_samples = NUM_SAMPLES if sampled else 1
    tolerance = tolerance_of(images.height, images.width)
    with tqdm(total=len(images.inputs), desc=name, unit=' inputs', disable=None, dynamic_ncols=True) as bar:
        for batch in images.batches(num_samples + 2):
            paths = [images.inputs[i] for i in batch]
            clean = images.read(images.source, paths)
            x = images.read_dirty(paths) if dirty else clean
            styles = guided = None
            if sampled:
                styles = model.forward.draw_styles(len(batch), num_samples, generator=generator).cpu()
            if guides:
                example = images.read(images.target, [images.guides[i] for i in batch])
                guided = model.forward.translate_batch(x, model.forward.encode_style(example)[:, None])[:, 0].cpu()
            outputs = model.forward.translate_batch(x, styles)
            _see_codes(seen, model, x, outputs, styles)
            outputs = outputs.cpu()
            drawn = edges(clean)
            f1 = torch.stack([edge_f1(edges(outputs[:, j]), drawn, tolerance) for j in range(num_samples)])
            seen.f1_sampled += f1.mean(0).tolist()
            seen.spread += [image_features.mean_squared_difference(of_one) for of_one in outputs]
            if guided is not None:
                seen.f1_guided += edge_f1(edges(guided), drawn, tolerance).tolist()
            if images.has_colours:
                for k, i in enumerate(batch):
                    mask = images.mask_of(images.inputs[i])
                    if mask.any():
                        seen.sampled.append([look_at(picture, mask) for picture in outputs[k]])
                        if guided is not None:
                            seen.guided.append(look_at(guided[k], mask))
                            seen.wanted.append(images.factors_of(images.guides[i]))
            targets = images.read(images.target, [images.targets[i % len(images.targets)] for i in batch])
            both = ((x, clean, False, seen.recon_source), (targets, targets, True, seen.recon_target))
            for given, wanted, of_target, values in both if model.method.autoencodes else ():
                reconstruction = model.reconstruct(given, of_target).float().cpu()
                values += (reconstruction - wanted).abs().mean((1, 2, 3)).tolist()
            visit(batch, x, outputs, guided)
            bar.update(len(batch))
    return seen


def _see_codes(seen: Observations, model: Model, x: Tensor, outputs: Tensor, styles: Tensor | None) -> None:
    """Encode outputs and record the errors of content codes (of two outputs per input, to save time) and styles."""
    if model.method.autoencodes:
        content = model.content(x)
        few = min(2, outputs.shape[1])
        again = model.content(outputs[:, :few].flatten(0, 1), of_target=True).unflatten(0, (len(x), few))
        error = (again - content[:, None]).abs().mean((1, 2, 3, 4)) / content.abs().mean((1, 2, 3)).clamp(min=1e-12)
        seen.content_error += error.cpu().tolist()
    if model.method.guided:
        for one, style in zip(outputs, styles, strict=True):
            seen.styles.append(style.flatten(1))
            seen.found_styles.append(model.forward.encode_style(one).flatten(1).cpu())


def real_seen(images: TestImages, seed: int) -> Observations:
    """Observations of real images, as a perfect model would give them.

    The true counterpart of an input stands for its translation, groups of ten random real images stand for the ten
    sampled outputs of one input (for pixel diversity: pairs of real images), and an example image for the output that
    it guides.
    """
    seen, generator = Observations(), torch.Generator().manual_seed(seed)
    tolerance = tolerance_of(images.height, images.width)
    for path, counterpart in zip(images.inputs, images.counterparts, strict=bool(images.counterparts)):
        x, y = images.read(images.source, [path]), images.read(images.target, [counterpart])
        seen.f1_sampled += edge_f1(edges(y), edges(x), tolerance).tolist()
    seen.f1_guided = seen.f1_sampled
    if images.has_colours:
        looks = {}
        for path in images.targets:
            mask = images.mask_of(path)
            if mask.any():
                looks[path] = look_at(images.read(images.target, [path])[0], mask)
        seen.guided, seen.wanted = list(looks.values()), [images.factors_of(path) for path in looks]
        every = list(looks.values())
        seen.sampled = [[every[i] for i in torch.randperm(len(every), generator=generator)[:NUM_SAMPLES]]
                        for _ in range(GROUPS_OF_REAL)]
    for _ in range(GROUPS_OF_REAL if len(images.targets) > 1 else 0):
        pair = [images.targets[i] for i in torch.randperm(len(images.targets), generator=generator)[:2]]
        seen.spread.append(image_features.mean_squared_difference(images.read(images.target, pair)))
    return seen


# ---------------------------------------------------------------------------------------------------------------------
# The metrics
# ---------------------------------------------------------------------------------------------------------------------

def content_kept(seen: Observations) -> float:
    """F1 score of the edges of sampled outputs against the edges of their input, 0…1. Edges are local maxima of the
    CIELAB gradient above ΔE 12; two edges agree within 2 pixels at 128×128 (in proportion at other sizes, at least 1).
    Real: the input's true counterpart, whose pattern has edges that are not in the input."""
    return mean(seen.f1_sampled)


def content_kept_guided(seen: Observations) -> float:
    """As content kept, for outputs with the style of an example image."""
    return mean(seen.f1_guided)


def colour_error(seen: Observations) -> float:
    """ΔE (CIE 1976) between the body colour of a guided output and the true body colour of its example image. The body
    colour is the more frequent of two main colours within the body's mask; of two about equally frequent ones, the one
    nearer to the true colour. Real: the example image itself, which gives the error of the measurement."""
    return mean([look.difference(wanted.body_lab) for (look, _), wanted in zip(seen.guided, seen.wanted, strict=True)])


def colour_error_sampled(seen: Observations) -> float:
    """As colour error, for outputs with sampled styles against the same example images: the value of chance. Real: real
    images drawn at random."""
    return mean([look.difference(wanted.body_lab)
                 for looks, wanted in zip(seen.sampled, seen.wanted, strict=False) for look, _ in looks])


def colour_error_ratio(seen: Observations) -> float:
    """Colour error of guided outputs divided by that of sampled ones: 1 where the example's style has no effect."""
    return colour_error(seen) / max(colour_error_sampled(seen), 1e-9)


def pattern_agreement(seen: Observations) -> float:
    """Share of guided outputs with the same pattern as their example image: plain, stripes, dots, checks or zigzag,
    recognised by the autocorrelation of the body. Real: the example image itself, which gives the accuracy of the
    recognition."""
    return mean([float(pattern == wanted.pattern)
                 for (_, pattern), wanted in zip(seen.guided, seen.wanted, strict=True)])


def pattern_agreement_sampled(seen: Observations) -> float:
    """As pattern agreement, for outputs with sampled styles: the value of chance."""
    return mean([float(pattern == wanted.pattern)
                 for looks, wanted in zip(seen.sampled, seen.wanted, strict=False) for _, pattern in looks])


def colour_diversity(seen: Observations) -> float:
    """Mean ΔE (CIE 1976) of body colours over all pairs of 10 outputs of one input. Real: 10 random real images."""
    return mean([image_features.mean_pair_difference(torch.stack([look.main for look, _ in looks]))
                 for looks in seen.sampled])


def pixel_diversity(seen: Observations) -> float:
    """Mean squared ΔE (CIE 1976) between corresponding pixels over all pairs of 10 outputs of one input. It is squared,
    as LPIPS squares differences of features, so that invisible noise (ΔE up to about 2) has almost no weight. Real: two
    random real images, of different objects."""
    return mean(seen.spread)


def pattern_entropy(seen: Observations) -> float:
    """Entropy in bits of the patterns of 10 outputs of one input. Real: 10 random real images."""
    return mean([image_features.entropy([pattern for _, pattern in looks]) for looks in seen.sampled])


def samples_for_coverage(seen: Observations) -> list[tuple[int, int]]:
    """The colour bins of 100 sampled outputs, spread over all inputs."""
    each = -(-COVERAGE_SAMPLES // len(seen.sampled))
    bins = [colour_bin(looks[j][0].main) for j in range(min(each, len(seen.sampled[0]))) for looks in seen.sampled]
    return bins[:COVERAGE_SAMPLES]


def coverage(seen: Observations, real: Observations) -> float:
    """Share of the colour bins of real images (8 hues and grey × 3 levels of lightness in CIELAB) that 100 sampled
    outputs reach. Real: what 100 further real images are expected to reach, from the frequencies of the bins."""
    return image_features.coverage(samples_for_coverage(seen), real_bins(real)).reached


def outside(seen: Observations, real: Observations) -> float:
    """Share of these 100 outputs whose colour bin no real test image has. Real: the expected share of new images."""
    return image_features.coverage(samples_for_coverage(seen), real_bins(real)).outside


def real_bins(real: Observations) -> list[tuple[int, int]]:
    """The colour bins of the real test images."""
    return [colour_bin(look.main) for look, _ in real.guided]


def recon_source(seen: Observations) -> float:
    """L1 error of reconstructing a test image of the source domain; values in [-1, 1]."""
    return mean(seen.recon_source)


def recon_target(seen: Observations) -> float:
    """L1 error of reconstructing a test image of the target domain; values in [-1, 1]."""
    return mean(seen.recon_target)


def content_recovery(seen: Observations) -> float:
    """L1 distance between the content code of an input and that of its output, divided by the code's mean magnitude."""
    return mean(seen.content_error)


def style_recovery(seen: Observations) -> float:
    """L1 distance between a sampled style and the style encoded from the output; of two independent styles: 1.13."""
    return (torch.cat(seen.found_styles) - torch.cat(seen.styles)).abs().mean().item()


def style_correlation(seen: Observations) -> float:
    """Correlation between a sampled style and the style encoded from the output, averaged over the dimensions."""
    styles, found = (torch.cat(codes).double() for codes in (seen.styles, seen.found_styles))
    styles, found = styles - styles.mean(0), found - found.mean(0)
    return ((styles * found).sum(0) / (styles.norm(dim=0) * found.norm(dim=0)).clamp(min=1e-12)).mean().item()


def mean(values: Sequence[float]) -> float:
    """The mean of numbers."""
    return sum(values) / len(values)


@torch.inference_mode()
def style_factors(model: Model, images: TestImages) -> tuple[Tensor, Tensor | None]:
    """How style codes of real test images of the target domain depend on the images' true factors.

    Returns:
        Correlation of each style dimension with each factor of `ground_truth.FACTORS`, (style_dim, factors); and for
        each factor the share of its variance that a linear regression on all dimensions explains, cross-validated,
        (factors,), or None where there are so few images that the regression fits by chance.
    """
    codes = [model.forward.encode_style(images.read(images.target, [path])).flatten().cpu() for path in images.targets]
    factors = [images.factors_of(path) for path in images.targets]
    styles = torch.stack(codes)
    several = len(styles) > styles.shape[1] + 1
    return correlations(styles, factors), explained(styles, factors) if several else None
