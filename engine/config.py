"""Read the YAML config of a run and check it completely before networks are built.

`engine.config_keys` defines the keys of MUNIT and UNIT; every other method has its own schema. The original's config
files can be used unchanged: keys that they do not contain have defaults.
"""
import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core import safetensors_file, trackers
from core.checkpoints import find_vgg_weights
from core.errors import BadInput, shown
from core.image_reading import read_header
from core.wrong_files import why_not_there
from data import find_images, has_test_set, sampled_paths, transform_of
from engine import paired_data
from engine.config_keys import LIST_KEYS, NO_DEFAULT, REQUIRED, Key, with_defaults
from engine.methods import METHODS, schema_of
from engine.yaml_loader import read_yaml

# The keys that describe the networks in a checkpoint and their input images.
NETWORK_KEYS = ('gen', 'input_dim_a', 'input_dim_b', 'new_size', 'new_size_a', 'new_size_b', 'crop_image_height',
                'crop_image_width', 'resize', 'value_range_a', 'value_range_b', 'init', 'init_gain')
PATH_KEYS = ('data_root', 'vgg_weights', *LIST_KEYS)   # in which ~ is expanded to the home folder


def load_config(path: str | Path, trainer: str = 'MUNIT', overrides: dict | None = None, data: bool = False) -> dict:
    """Read a config from a YAML file, override keys, fill in defaults, and check the result.

    Args:
        path: path of the file.
        trainer: a key of `methods.METHODS`, which determines the schema.
        overrides: values of top-level keys from the command line. None values are ignored.
        data: also check that the images and weights required for training exist.

    Raises:
        BadInput: the config is invalid. The message has one line for each error.
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


def config_for(path: str | Path | None, checkpoint: str | Path, trainer: str = 'MUNIT',
               overrides: dict | None = None, flag: str = '--checkpoint') -> dict:
    """Return the config of a checkpoint, from a YAML file or, if `path` is None, from a .safetensors checkpoint.

    The config stored in a .safetensors file contains only the keys required for translation.

    Args:
        path, trainer, overrides: see `load_config`.
        flag: the flag with which the checkpoint was given, for error messages.

    Raises:
        BadInput: see `load_config`; or the checkpoint contains no config, or the config of another method.
    """
    if path is not None:
        return load_config(path, trainer, overrides)
    method, found = safetensors_file.read_about(checkpoint, flag) if safetensors_file.is_safetensors(checkpoint) else (
        '', {})
    if fault := '' if found else why_not_there(checkpoint):
        raise BadInput(f'{flag} {shown(checkpoint)}: {fault}')
    if not found:
        raise BadInput(f'--config: missing; it may be left out for a .safetensors file that export_onnx.py wrote, not '
                       f'for {flag} {shown(checkpoint)}')
    if method != trainer:
        raise BadInput(f'{flag} {shown(checkpoint)}: made by {shown(method, 80)}; use --trainer {shown(method, 80)}')
    schema = schema_of(trainer)
    config: dict = {key: found[key] for key in NETWORK_KEYS if key in found}
    known = {key: value for key, value in schema.keys.items() if key in NETWORK_KEYS}
    faults = _check_section(config, known, schema.name, trainer, '')
    if isinstance(config.get('gen'), dict):
        faults += _check_section(config['gen'], schema.gen, schema.name, trainer, 'gen.')
    if 'new_size' not in config and not {'new_size_a', 'new_size_b'} <= config.keys():
        faults.append('new_size: missing')
    if faults:
        raise BadInput('\n'.join(f'{shown(checkpoint)}: its {fault}; give --config' for fault in faults))
    config.update({key: value for key, value in (overrides or {}).items() if value is not None})
    return with_defaults({**config, 'dis': {}}, schema)


def network_config(config: dict) -> dict:
    """Return the part of a complete config that `config_for` requires."""
    return {key: config[key] for key in NETWORK_KEYS if key in config}


def check_config(config: dict, trainer: str = 'MUNIT', data: bool = False) -> list[str]:
    """Return all errors in a config as messages of one line each. Converts numbers and fills in defaults in place."""
    schema = schema_of(trainer)
    faults = _check_section(config, schema.keys, schema.name, trainer, '')
    for name, keys in (('gen', schema.gen), ('dis', schema.dis)):
        if isinstance(config.get(name), dict):
            faults += _check_section(config[name], keys, schema.name, trainer, name + '.')
    for name in PATH_KEYS:
        if isinstance(config.get(name), str):
            config[name] = os.path.expanduser(config[name])
    faults += _check_data_keys(config)
    if config.get('cuda_graphs') is True and config.get('fused') is False:
        faults.append('cuda_graphs requires fused: true')
    gen: dict = config['gen'] if isinstance(config.get('gen'), dict) else {}
    if config.get('checkpoint_activations') is True and gen.get('spectral_norm') is True:
        # Recomputed activations would use weights after another power iteration of the spectral norm.
        faults.append('gen.spectral_norm: cannot be combined with checkpoint_activations: true; leave out one of them')
    if config.get('lr_policy') == 'step':
        faults += [f'{key}: missing (lr_policy is step)' for key in ('step_size', 'gamma') if key not in config]
    if not any(fault.startswith(schema.size_keys) and ': unknown key' not in fault for fault in faults):
        faults += schema.check_sizes(config)
    if data and not any(fault.startswith('data_') for fault in faults):
        faults += _check_files(config, METHODS[trainer].paired, sound=not faults)
    return faults


def _check_section(section: dict, keys: dict[str, Key], schema_name: str, trainer: str, prefix: str) -> list[str]:
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
            if not key.trainers or schema_name in key.trainers:
                needed = f' (required by --trainer {trainer})' if key.trainers else ''
                faults.append(f'{prefix}{name}: missing{needed}; docs/configuration.md lists the allowed values')
        elif key.default is not NO_DEFAULT:
            section[name] = dict(key.default) if isinstance(key.default, dict) else key.default
    return faults


def _check_value(value: Any, key: Key) -> tuple[Any, str]:
    """Convert a value to the type of its key. Returns the value and an error message, which is '' if it is valid."""
    wanted = {int: 'a whole number', float: 'a number', str: 'text', bool: 'true or false',
              dict: 'a section with keys', list: 'two numbers, the lowest first, such as [0, 4095]'}[key.type]
    if key.words and value in key.words:
        return value, ''
    if key.words:
        wanted = ', '.join(key.words) + f' or {wanted}'
    if key.choices:
        wanted = 'one of ' + ', '.join(str(choice).lower() if choice is False or choice is True else str(choice)
                                       for choice in key.choices)
    converted = _convert(value, key.type)
    if converted is None or (key.choices and converted not in key.choices):
        return value, f'{_as_written(value)} is not {wanted}'
    if key.low is not None and not converted >= key.low or key.high is not None and not converted <= key.high:
        bounds = f'at least {key.low:g}' if key.high is None else f'from {key.low:g} to {key.high:g}'
        return value, f'{shown(repr(value), 80)} is not {bounds}'
    return converted, ''


def _as_written(value: Any) -> str:
    """Return a value as text, with the words that YAML reads as null, true or false."""
    if value is None:
        return 'nothing (an empty value, ~ or null)'
    if isinstance(value, bool):
        return 'true (YAML reads yes and on as that)' if value else 'false (YAML reads no and off as that)'
    return shown(repr(value), 80)


def _convert(value: Any, kind: type) -> Any:
    """Return `value` converted to `kind`, or None. YAML reads 1e-4 as a string, which is converted to a number."""
    if kind in (str, dict, bool):
        return value if isinstance(value, kind) else None
    if kind is list:
        numbers = [_convert(item, float) for item in value] if isinstance(value, list) else []
        return numbers if len(numbers) == 2 and None not in numbers and numbers[0] < numbers[1] else None  # type: ignore[operator]
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
            faults += [f'{key}: missing (list mode needs all eight data_folder_… and data_list_… keys, or the four of '
                       f'the training images)' for key in LIST_KEYS if key not in config
                       and ('_train_' in key or has_test_set(config, key[-1]))]
        else:
            faults += ['data_root: missing (or the eight data_folder_… and data_list_… keys)']
    if 'new_size' not in config and config.get('resize', 'shorter') == 'shorter':
        missing = [key for key in ('new_size_a', 'new_size_b') if key not in config]
        faults += ['new_size: missing (or new_size_a and new_size_b)'] if missing else []
    return faults


def _check_files(config: dict, paired: bool, sound: bool) -> list[str]:
    """Check that images and weights exist and, if the config is otherwise valid (`sound`), that the crops fit."""
    root = config.get('data_root')
    if root is not None and (fault := _fault_of_root(root)):
        return [f'data_root: {fault}']
    faults = []
    for split in ('train', 'test'):
        for domain in 'ab':
            try:
                paths = find_images(config, split, domain)
            except BadInput as error:
                key = 'data_root' if 'data_root' in config else f'data_list_{split}_{domain}'
                faults.append(f'{key}: {error}')
            else:
                faults += _check_crops(config, domain, paths) if split == 'train' and sound else []
        if paired and not faults:
            fault = paired_data.fault_of(config, split)
            faults += [f'{"data_root" if "data_root" in config else f"data_list_{split}_a"}: {fault}'] if fault else []
    if fault := trackers.fault_of(str(config.get('tracker'))):
        faults.append(f'tracker: {fault}')
    weights = config.get('vgg_weights')
    if isinstance(config.get('vgg_w'), float) and config['vgg_w'] > 0 and isinstance(weights, str):
        try:
            find_vgg_weights(weights)
        except BadInput as error:
            faults.append(f'vgg_weights: {error}')
    return faults


def _fault_of_root(root: str) -> str:
    """Return an error message if `root` contains no folder of training images, otherwise ''."""
    wanted = 'it must contain trainA and trainB, and can contain testA and testB'
    if not os.path.isdir(root):
        place = '' if os.path.isabs(root) else f' in {shown(os.getcwd())}, where the command was started'
        return f'{shown(root)}: no such folder{place}; {wanted}'
    if any(os.path.lexists(os.path.join(root, name)) for name in ('trainA', 'trainB')):
        return ''
    if os.path.isdir(above := os.path.join(root, os.pardir, 'trainB')):
        return f'{shown(root)}: {wanted}; the folder above it does ({shown(os.path.dirname(os.path.realpath(above)))})'
    folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    found = f'it contains {", ".join(shown(name, 40) for name in folders[:6])}{", …" * (len(folders) > 6)}'
    return f'{shown(root)}: {wanted}; {found if folders else "it contains no folders"}'


def _check_crops(config: dict, domain: str, paths: Sequence[Path]) -> list[str]:
    """Check by the headers of a sample of the images that they are large enough for the crop."""
    crop = config['crop_image_height'], config['crop_image_width']
    transform = transform_of(config, domain)
    if transform.fit or max(crop) <= transform.new_size:
        return []
    looked_at = sampled_paths(paths)
    sizes = {path: transform.size_of(*header.size) for path in looked_at if (header := read_header(path))}
    step = 2 ** config['gen']['n_downsample']
    faults = []
    for name, wanted, side in zip(('crop_image_height', 'crop_image_width'), crop, (1, 0), strict=True):
        small = [path for path, size in sizes.items() if size[side] < wanted]
        if not small:
            continue
        path, least = small[0], min(size[side] for size in sizes.values())
        room = least // step * step
        after = f'with its shorter side resized to {transform.new_size}' if transform.new_size else '(resize: none)'
        others = f' ({len(small)} of {len(sizes)} sampled images are too small)' if len(sizes) > 1 else ''
        ways = [f'set it to {room} or less'] * (room > 0) + ['set resize: fit'] + (
            [f'raise new_size to {-(-wanted * transform.new_size // least)} or more'] if transform.new_size else [])
        faults.append(f'{name}: {wanted} is larger than {shown(path)}, {sizes[path][0]}×{sizes[path][1]} pixels (width '
                      f'× height) {after}{others}; {", ".join(ways)}, or remove such images')
    return faults
