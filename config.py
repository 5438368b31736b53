"""A run's configuration: reading a YAML file, and finding every fault in it before anything is built.

`KEYS` is the whole list of what a config of MUNIT or UNIT may say; `SCHEMAS` has those of all methods. The original's
files load unchanged; keys that came later have defaults.
"""
import difflib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

import baselines
import pairs
from checkpoints import find_vgg_weights
from data import BadInput, find_images, shown, why_no_file
from methods import METHODS
from networks import ACTIVATIONS, INITS, PADDINGS, STYLE_HALVINGS
from precision import PRECISIONS

REQUIRED = object()
MAX_CONFIG_BYTES = 128 * 2 ** 10
MAX_CONFIG_VALUES = 1000
MAX_BRACKETS = 20   # within each other: reading takes PyYAML the square of their number
YAML_TAG = 'tag:yaml.org,2002:'
PLAIN_TAGS = ('str', 'int', 'float', 'bool', 'null', 'map', 'seq', 'timestamp', 'merge')


class Key(NamedTuple):
    """What a key may hold: its type, its choices or its bounds, its default, and the trainers that need it."""
    type: type
    default: Any = REQUIRED
    choices: tuple = ()
    low: float | None = None
    high: float | None = None
    trainers: tuple = ()   # none: all. A method of one's own needs what the one needs whose schema it takes


def _count(**options) -> Key:
    return Key(int, low=1, **options)


def _weight(**options) -> Key:
    return Key(float, low=0, **options)


def _choice(*choices, **options) -> Key:
    return Key(type(choices[0]), choices=choices, **options)


LIST_KEYS = tuple(f'data_{kind}_{split}_{domain}'
                  for split in ('train', 'test') for domain in 'ab' for kind in ('folder', 'list'))
GIVEN_ELSEWHERE = None   # a default for keys of which a rule below says when they are needed

WIDEST = 2 ** 16   # beyond it, building the networks would fail in ways that name no key
GEN_KEYS = {
    'dim': _count(high=WIDEST),
    'mlp_dim': _count(high=WIDEST, trainers=('MUNIT',)),
    'style_dim': _count(high=WIDEST, trainers=('MUNIT',)),
    'activ': _choice(*ACTIVATIONS),
    'n_downsample': Key(int, low=0, high=16),
    'n_res': _count(high=1000),
    'pad_type': _choice(*PADDINGS),
    'spectral_norm': Key(bool, default=False),
}
DIS_KEYS = {
    'dim': _count(high=WIDEST),
    'norm': _choice('none', 'bn', 'in', 'ln', 'sn'),
    'activ': _choice(*ACTIVATIONS),
    'n_layer': _count(high=16),
    'gan_type': _choice('lsgan', 'nsgan', 'hinge'),
    'num_scales': _count(high=16),
    'pad_type': _choice(*PADDINGS),
}
KEYS = {
    'image_save_iter': _count(),
    'image_display_iter': _count(),
    'display_size': _count(),
    'snapshot_save_iter': _count(),
    'log_iter': _count(),
    'max_iter': _count(),
    'batch_size': _count(),
    'weight_decay': _weight(),
    'beta1': Key(float, low=0, high=0.999999),
    'beta2': Key(float, low=0, high=0.999999),
    'init': _choice(*INITS),
    'lr': Key(float, low=1e-12),
    'lr_policy': _choice('step', 'constant', default='constant'),
    'step_size': _count(default=GIVEN_ELSEWHERE),
    'gamma': Key(float, low=0, default=GIVEN_ELSEWHERE),
    'gan_w': _weight(),
    'recon_x_w': _weight(),
    'recon_s_w': _weight(trainers=('MUNIT',)),
    'recon_c_w': _weight(trainers=('MUNIT',)),
    'recon_x_cyc_w': _weight(),
    'recon_kl_w': _weight(trainers=('UNIT',)),
    'recon_kl_cyc_w': _weight(trainers=('UNIT',)),
    'recon_h_w': _weight(default=GIVEN_ELSEWHERE),   # stands in UNIT's own files, whose code never read it either
    'vgg_w': _weight(),
    'dis_lr': Key(float, low=1e-12, default=GIVEN_ELSEWHERE),
    'ema_decay': Key(float, low=0, high=0.999999, default=0.0),
    'dirty': _choice('none', 'a', 'b', default='none'),
    'display_guided': Key(bool, default=False, trainers=('MUNIT',)),
    'log_styles': Key(bool, default=False, trainers=('MUNIT',)),
    'vgg_weights': Key(str, default='models/vgg16.weight'),
    'precision': _choice(*PRECISIONS, default='fp32'),
    'deterministic': Key(bool, default=False),
    'channels_last': Key(bool, default=False),
    'compile': Key(bool, default=False),
    'cuda_graphs': Key(bool, default=False),
    'fused': Key(bool, default=True),
    'checkpoint_activations': Key(bool, default=False),
    'cache': _choice('none', 'ram', default='none'),
    'keep_snapshots': Key(int, low=0, default=0),
    'max_bad_steps': _count(default=10),
    'max_bad_images': Key(int, low=0, default=100),
    'gen': Key(dict),
    'dis': Key(dict),
    'input_dim_a': _choice(1, 3),
    'input_dim_b': _choice(1, 3),
    'num_workers': Key(int, low=0),
    'new_size': _count(default=GIVEN_ELSEWHERE),
    'new_size_a': _count(default=GIVEN_ELSEWHERE),
    'new_size_b': _count(default=GIVEN_ELSEWHERE),
    'crop_image_height': _count(),
    'crop_image_width': _count(),
    'data_root': Key(str, default=GIVEN_ELSEWHERE),
    **{key: Key(str, default=GIVEN_ELSEWHERE) for key in LIST_KEYS},
}


class Schema(NamedTuple):
    """The keys that a method's config may hold: its own, and those of its sections `gen` and `dis`."""
    keys: dict[str, Key]
    gen: dict[str, Key]
    dis: dict[str, Key]
    check_sizes: Callable[[dict, str], list[str]]


def _baseline_keys(weights: dict[str, float], defaults: dict[str, Any]) -> dict[str, Key]:
    """`KEYS`, as far as they concern a baseline, with its published values for defaults."""
    left_out = ('init', 'lr_policy', 'step_size', 'gamma', 'vgg_w', 'vgg_weights', 'ema_decay', 'dirty',
                'display_guided', 'log_styles')
    keys = {name: key for name, key in KEYS.items()
            if name not in left_out and not name.startswith(('gan_w', 'recon_'))}
    keys.update({name: _weight(default=weight) for name, weight in weights.items()})
    keys.update({
        'init': _choice(*baselines.INITS, default='gaussian'),
        'init_gain': Key(float, low=0, default=0.02),
        'lr_policy': _choice('linear', 'constant', default='linear'),
        'decay_start': Key(int, low=0, default=GIVEN_ELSEWHERE),   # half of max_iter
        'decay_end': _count(default=GIVEN_ELSEWHERE),              # max_iter
        # Not made for these: networks that are called several times an iteration, and their own blocks.
        'cuda_graphs': _choice(False, default=False),
        'checkpoint_activations': _choice(False, default=False)})
    published = {'image_save_iter': 10000, 'image_display_iter': 500, 'display_size': 16, 'snapshot_save_iter': 10000,
                 'log_iter': 10, 'batch_size': 1, 'weight_decay': 0.0, 'beta1': 0.5, 'beta2': 0.999, 'lr': 2e-4,
                 'gen': {}, 'dis': {}, 'input_dim_a': 3, 'input_dim_b': 3, 'num_workers': 8,
                 'crop_image_height': 256, 'crop_image_width': 256}
    for name, value in {**published, **defaults}.items():
        keys[name] = keys[name]._replace(default=value)
    return keys


_DROPOUT = Key(float, low=0, high=0.95, default=0.5)
_UNET_GEN = {'dim': _count(high=WIDEST, default=64), 'n_downsample': _count(high=12, default=GIVEN_ELSEWHERE),
             'noise_dim': _count(high=WIDEST, default=8), 'dropout': _DROPOUT}
_CYCLEGAN_WEIGHTS = {'gan_w': 1.0, 'recon_x_cyc_w': 10.0, 'identity_w': 5.0}


def _patch_dis(num_scales: int) -> dict[str, Key]:
    return {'dim': _count(high=WIDEST, default=64), 'n_layer': _count(high=12, default=3),
            'num_scales': _count(high=8, default=num_scales), 'gan_type': _choice('lsgan', 'nsgan', default='lsgan')}


def load_config(path: str | Path, trainer: str = 'MUNIT', overrides: dict | None = None, data: bool = False) -> dict:
    """Read a YAML file, apply the command line's overrides, fill in defaults, and check all of it.

    Args:
        path: the file.
        trainer: of `methods.METHODS`; they need different keys.
        overrides: top-level keys whose values the command line gives; None values are passed over.
        data: also check that the images and weights that training needs are there.

    Raises:
        BadInput: with one line for each fault.
    """
    config = read_yaml(Path(path))
    overrides = {key: value for key, value in (overrides or {}).items() if value is not None}
    if 'data_root' in overrides:
        config = {key: value for key, value in config.items() if key not in LIST_KEYS}
    config.update(overrides)
    faults = check_config(config, trainer, data)
    if faults:
        raise BadInput('\n'.join(f'{shown(path)}: {fault}' for fault in faults))
    return config


def read_yaml(path: Path, flag: str = '--config') -> dict:
    """The plain values of a YAML file, unchecked.

    Raises:
        BadInput: no such file, or another kind of one; the line names `flag`.
    """
    named = f'{flag} {shown(path)}'
    fault = why_no_file(path)
    if fault:
        raise BadInput(f'{named}: {fault}')
    try:
        with open(path, 'rb') as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
        if len(content) > MAX_CONFIG_BYTES:
            raise BadInput(f'{named}: larger than {MAX_CONFIG_BYTES >> 10} KiB; not a config')
        text = content.decode('utf-8-sig')
        config = yaml.load(text, _PlainLoader)   # a SafeLoader
    except OSError as error:
        raise BadInput(f'{named}: {error.strerror or error}') from None
    except UnicodeDecodeError as error:
        line = content[:error.start].count(b'\n') + 1
        raise BadInput(f'{named}: not a YAML file: line {line}: not UTF-8; save it with that encoding') from None
    except RecursionError:
        raise BadInput(f'{named}: not a YAML file: nested too deeply') from None
    except yaml.reader.ReaderError as error:
        line = text[:error.position].count('\n') + 1
        raise BadInput(f'{named}: not a YAML file: line {line}: holds the character U+{error.character:04X}') from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f'line {mark.line + 1}: ' if mark else ''
        raise BadInput(f'{named}: not a YAML file of plain values: {place}'
                       f'{shown(error.problem or error.context, 200)}') from None
    except (yaml.YAMLError, ValueError) as error:
        raise BadInput(f'{named}: not a YAML file: {shown(" ".join(str(error).split()), 200)}') from None
    if not isinstance(config, dict):
        raise BadInput(f'{named}: holds no "key: value" lines')
    return config


class _PlainLoader(yaml.SafeLoader):
    """Text, numbers, truth values, lists and sections; each key once, and no more of it than a config has."""

    def get_single_node(self) -> yaml.Node | None:
        """The document, looked over before anything is made of it."""
        root = super().get_single_node()
        pending, seen = [root] if root else [], 0
        while pending:   # an alias counts as often as it stands: nine lines of nine aliases are a billion values
            node, seen = pending.pop(), seen + 1
            if seen > MAX_CONFIG_VALUES:
                raise self._fault(node, f'more than {MAX_CONFIG_VALUES} values, aliases (*name) counted each time')
            if node.tag.removeprefix(YAML_TAG) not in PLAIN_TAGS:
                raise self._fault(node, f'the tag {node.tag.replace(YAML_TAG, "!!", 1)}')
            if isinstance(node, yaml.ScalarNode):
                self._check_scalar(node)
            elif isinstance(node, yaml.MappingNode):
                self._check_keys(node)
                pending += [child for pair in node.value for child in pair]
            else:
                pending += node.value
        return root

    def fetch_flow_collection_start(self, TokenClass: type) -> None:
        if self.flow_level >= MAX_BRACKETS:
            raise yaml.MarkedYAMLError(problem=f'more than {MAX_BRACKETS} brackets within each other',
                                       problem_mark=self.get_mark())
        super().fetch_flow_collection_start(TokenClass)

    def _check_scalar(self, node: yaml.ScalarNode) -> None:
        if node.tag in (f'{YAML_TAG}int', f'{YAML_TAG}float'):
            if len(node.value) > 100:
                raise self._fault(node, f'a number of {len(node.value)} digits')
            if ':' in node.value:   # 1:30 is 90 in YAML 1.1
                raise self._fault(node, f'{node.value} would be read as a number to the base 60; write it in quotes, '
                                        f'or as a decimal number')

    def _check_keys(self, node: yaml.MappingNode) -> None:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag not in (f'{YAML_TAG}str', f'{YAML_TAG}merge') or not isinstance(key, yaml.ScalarNode):
                raise self._fault(key, 'a key that is not text')
            line = key.start_mark.line + 1
            if key.value in lines:
                raise self._fault(key, f'{key.value} stands in line {lines[key.value]} already')
            lines[key.value] = line

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, LookupError, TypeError, ValueError):   # such as !!int "" and !!bool maybe
            raise self._fault(node, f'not a value of the tag {node.tag.replace(YAML_TAG, "!!", 1)}') from None

    @staticmethod
    def _fault(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
        return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


_PlainLoader.add_constructor(f'{YAML_TAG}timestamp', _PlainLoader.construct_yaml_str)   # 2020-13-45 is text as well


def check_config(config: dict, trainer: str = 'MUNIT', data: bool = False) -> list[str]:
    """All faults of a config, a line each; none if it is sound. Numbers are converted and defaults filled in place."""
    schema = SCHEMAS[METHODS[trainer].schema]
    faults = _check_section(config, schema.keys, trainer, '')
    for name, keys in (('gen', schema.gen), ('dis', schema.dis)):
        if isinstance(config.get(name), dict):
            faults += _check_section(config[name], keys, trainer, name + '.')
    faults += _check_data_keys(config)
    if config.get('cuda_graphs') is True and config.get('compile') is False:
        faults.append('cuda_graphs: wants compile: true, which makes what is recorded')
    gen = config.get('gen') if isinstance(config.get('gen'), dict) else {}
    if config.get('checkpoint_activations') is True and gen.get('spectral_norm') is True:
        # What is computed again would be so with weights that are an iteration of the norm ahead.
        faults.append('gen.spectral_norm: not together with checkpoint_activations: true; leave out one of them')
    if config.get('lr_policy') == 'step':
        faults += [f'{key}: missing (lr_policy is step)' for key in ('step_size', 'gamma') if key not in config]
    sizes = ('crop_image_', 'new_size', 'gen:', 'gen.', 'dis:', 'dis.', 'batch_size:', 'vgg_w:')
    if schema.check_sizes is not _check_sizes:
        sizes += ('max_iter:', 'decay_', 'identity_w:', 'input_dim_')
    if not any(fault.startswith(sizes) and ': unknown key' not in fault for fault in faults):
        faults += schema.check_sizes(config, trainer)
    if data and not any(fault.startswith('data_') for fault in faults):
        faults += _check_files(config, METHODS[trainer].paired)
    return faults


def _check_section(section: dict, keys: dict[str, Key], trainer: str, prefix: str) -> list[str]:
    faults = []
    for name in section:
        if name not in keys:
            near = difflib.get_close_matches(str(name), keys, n=1, cutoff=0.5)
            hint = f'; did you mean {prefix}{near[0]}?' if near else ''
            faults.append(f'{prefix}{shown(name, 80)}: unknown key{hint}')
    for name, key in keys.items():
        if name in section:
            section[name], fault = _check_value(section[name], key)
            if fault:
                faults.append(f'{prefix}{name}: {fault}')
        elif key.default is REQUIRED:
            if not key.trainers or METHODS[trainer].schema in key.trainers:
                needed = f' (needed by --trainer {trainer})' if key.trainers else ''
                faults.append(f'{prefix}{name}: missing{needed}')
        elif key.default is not GIVEN_ELSEWHERE:
            section[name] = dict(key.default) if isinstance(key.default, dict) else key.default
    return faults


def _check_value(value: Any, key: Key) -> tuple[Any, str]:
    """The value as the key's type, and what is wrong with it ('' if nothing)."""
    wanted = {int: 'a whole number', float: 'a number', str: 'text', bool: 'true or false',
              dict: 'a section of its own'}[key.type]
    if key.choices:
        wanted = 'one of ' + ', '.join(map(str, key.choices))
    converted = _convert(value, key.type)
    if converted is None or (key.choices and converted not in key.choices):
        return value, f'{shown(repr(value), 80)} is not {wanted}'
    if key.low is not None and not converted >= key.low or key.high is not None and not converted <= key.high:
        bounds = f'at least {key.low:g}' if key.high is None else f'from {key.low:g} to {key.high:g}'
        return value, f'{shown(repr(value), 80)} is not {bounds}'
    return converted, ''


def _convert(value: Any, kind: type) -> Any:
    """`value` as `kind`, or None. YAML reads 1e-4 as text: taken as the number that its writer meant."""
    if kind in (str, dict, bool):
        return value if isinstance(value, kind) else None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not abs(number) < float('inf'):
        return None
    if kind is int:
        return int(number) if number == int(number) else None
    return number


def _check_data_keys(config: dict) -> list[str]:
    faults = []
    has_lists = any(key in config for key in LIST_KEYS)
    if 'data_root' not in config:
        if has_lists:
            faults += [f'{key}: missing (list mode needs all eight data_folder_… and data_list_… keys)'
                       for key in LIST_KEYS if key not in config]
        else:
            faults += ['data_root: missing (or the eight data_folder_… and data_list_… keys)']
    if 'new_size' not in config:
        missing = [key for key in ('new_size_a', 'new_size_b') if key not in config]
        faults += ['new_size: missing (or new_size_a and new_size_b)'] if missing else []
    return faults


def _check_sizes(config: dict, trainer: str) -> list[str]:
    """Crops against the resized images, and against what the networks can halve."""
    faults = []
    size_names = ['new_size'] if 'new_size' in config else ['new_size_a', 'new_size_b']
    gen, dis = config['gen'], config['dis']
    step = 2 ** gen['n_downsample']
    smallest = max(2 * step, 2 ** STYLE_HALVINGS if METHODS[trainer].schema == 'MUNIT' else 4)
    if config['vgg_w'] > 0:
        smallest = max(smallest, 16)   # relu5_3 is an eighth of it, and its instance norm wants more than one value
    for name in ('crop_image_height', 'crop_image_width'):
        crop = config[name]
        faults += [f'{name}: {crop} is larger than {size_name} {config[size_name]}'
                   for size_name in size_names if crop > config[size_name]]
        if crop % step:
            faults.append(f'{name}: {crop} is not a multiple of {step}, 2 to the power gen.n_downsample')
        if crop < smallest:
            faults.append(f'{name}: {crop} is too small for the encoders, at least {smallest}')
    height, width = config['crop_image_height'], config['crop_image_width']
    if not faults and not _discriminator_fits(height, width, dis, config['batch_size']):
        layers = f'dis.n_layer {dis["n_layer"]} and dis.num_scales {dis["num_scales"]} with dis.norm {dis["norm"]}'
        faults.append(f'crop_image_height, crop_image_width: {height}×{width} is too small for {layers}')
    return faults


def _check_baseline_sizes(config: dict, trainer: str) -> list[str]:
    """As `_check_sizes`, of the baselines; fills in what hangs on other keys: schedule and levels of a U-Net."""
    faults, gen, dis = [], config['gen'], config['dis']
    known = SCHEMAS[METHODS[trainer].schema].gen   # a config may have keys of other methods
    sizes = [config[name] for name in ('crop_image_height', 'crop_image_width')]
    if 'n_res' not in known:   # a U-Net: as many levels as lead to whole numbers, 8 at most
        even = [n for n in range(1, 9) if all(size % 2 ** n == 0 for size in sizes)]
        gen.setdefault('n_downsample', max(even, default=1))
    step = 2 ** gen['n_downsample']
    smallest = 3 * 2 ** (dis['n_layer'] + dis['num_scales'] - 1)
    if 'enc_res' in known:
        smallest = max(smallest, 2 ** (gen['enc_res'] + 1))
    if 'n_res' in known:
        smallest = max(smallest, 2 * step, 4)
    for name, size in zip(('crop_image_height', 'crop_image_width'), sizes, strict=True):
        for size_name in ['new_size'] if 'new_size' in config else ['new_size_a', 'new_size_b']:
            if size > config[size_name]:
                faults.append(f'{name}: {size} is larger than {size_name} {config[size_name]}')
        if size % step:
            faults.append(f'{name}: {size} is not a multiple of {step}, 2 to the power gen.n_downsample')
        if size < smallest:
            faults.append(f'{name}: {size} is too small for the networks, at least {smallest} (dis.n_layer '
                          f'{dis["n_layer"]}, dis.num_scales {dis["num_scales"]})')
    if config.get('identity_w', 0) > 0 and config['input_dim_a'] != config['input_dim_b']:
        faults.append(f'identity_w: {config["identity_w"]:g} gives the generator into A pictures of A, so wants '
                      f'input_dim_a {config["input_dim_a"]} and input_dim_b {config["input_dim_b"]} alike; make both '
                      f'3, or identity_w 0')
    if METHODS[trainer].paired and config['batch_size'] % 2:
        faults.append(f'batch_size: {config["batch_size"]} is not even; half of the pairs are encoded, half are not')
    config.setdefault('decay_end', config['max_iter'])
    config.setdefault('decay_start', min(config['max_iter'] // 2, config['decay_end']))
    if config['decay_start'] > config['decay_end']:
        faults.append(f'decay_start: {config["decay_start"]} is after decay_end {config["decay_end"]}')
    return faults


def _discriminator_fits(height: int, width: int, dis: dict, batch_size: int) -> bool:
    """Whether every layer of every scale has enough pixels left to halve, to pad, and to normalise."""
    for _ in range(dis['num_scales']):
        h, w = height, width
        for layer in range(dis['n_layer']):
            if min(h, w) < 2:
                return False
            h, w = h // 2, w // 2
            values = h * w * (batch_size if dis['norm'] == 'bn' else 1)
            if layer > 0 and dis['norm'] in ('in', 'bn') and values < 2:
                return False
        height, width = (height + 1) // 2, (width + 1) // 2
    return True


def _check_files(config: dict, paired: bool) -> list[str]:
    root = config.get('data_root')
    if root is not None and not os.path.isdir(root):
        return [f'data_root: {shown(root)}: no such folder; it should hold trainA, trainB, testA and testB']
    faults = []
    for split in ('train', 'test'):
        for domain in 'ab':
            try:
                find_images(config, split, domain)
            except BadInput as error:
                key = 'data_root' if 'data_root' in config else f'data_list_{split}_{domain}'
                faults.append(f'{key}: {error}')
        if paired and not faults:
            fault = pairs.fault_of(config, split)
            faults += [f'{"data_root" if "data_root" in config else f"data_list_{split}_a"}: {fault}'] if fault else []
    weights = config.get('vgg_weights')
    if isinstance(config.get('vgg_w'), float) and config['vgg_w'] > 0 and isinstance(weights, str):
        try:
            find_vgg_weights(weights)
        except BadInput as error:
            faults.append(f'vgg_weights: {error}')
    return faults


SCHEMAS = {
    'MUNIT': Schema(KEYS, GEN_KEYS, DIS_KEYS, _check_sizes),
    'UNIT': Schema(KEYS, GEN_KEYS, DIS_KEYS, _check_sizes),
    'CycleGAN': Schema(
        {**_baseline_keys(_CYCLEGAN_WEIGHTS, {}), 'pool_size': Key(int, low=0, high=10_000, default=50)},
        {'dim': _count(high=WIDEST, default=64), 'n_downsample': Key(int, low=0, high=12, default=2),
         'n_res': _count(high=1000, default=9), 'dropout': _DROPOUT},
        _patch_dis(1), _check_baseline_sizes),
    'CycleGANNoise': Schema(
        {**_baseline_keys(_CYCLEGAN_WEIGHTS, {}), 'pool_size': Key(int, low=0, high=10_000, default=50)},
        _UNET_GEN, _patch_dis(1), _check_baseline_sizes),
    'BicycleGAN': Schema(
        _baseline_keys({'gan_w': 1.0, 'gan2_w': 1.0, 'recon_x_w': 10.0, 'latent_w': 0.5, 'kl_w': 0.01},
                       {'batch_size': 2, 'init': 'xavier'}),
        {**_UNET_GEN, 'enc_dim': _count(high=WIDEST, default=64), 'enc_res': _count(high=12, default=4)},
        _patch_dis(2), _check_baseline_sizes),
}
