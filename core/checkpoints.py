"""Checkpoint files: written atomically, read without executing anything, and checked against the networks."""
import io
import os
import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core import safetensors_file
from core.checkpoint_kinds import describe, kind_of, kind_of_file, unwrap, unwrap_any, unwrap_single
from core.checkpoint_scan import Foreign, Refused, scan
from core.errors import BadInput, say_once, shown
from core.files import replacing
from core.run_state import is_finite
from core.wrong_files import why_no_checkpoint, why_not_there


class NotFiniteFile(BadInput):
    """A checkpoint of the right names and shapes holds numbers that no network can have."""


def write_file(content: dict, path: Path, with_checksum: bool = True) -> int:
    """Write a checkpoint and have it on the disk; its checksum, or 0 where none is wanted.

    Raises:
        OSError: the disk is full, or fails.
    """
    memory = io.BytesIO()   # PyTorch itself, writing to a full disk, may end the process
    torch.save(content, memory)
    with open(path, 'wb') as file:
        file.write(memory.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    return zlib.crc32(memory.getbuffer()) if with_checksum else 0


def put_file(content: dict, path: Path, flag: str) -> None:
    """Write a checkpoint that the user named: whole, or not at all.

    Raises:
        BadInput: it cannot be written.
    """
    try:
        with replacing(path) as temporary:
            write_file(content, temporary)
    except OSError as error:
        raise BadInput(f'{flag} {shown(path)}: cannot be written ({error.strerror or error})') from None


def load_file(path: str | Path, flag: str = '', mmap: bool = False) -> dict:
    """Read a checkpoint of any PyTorch since 0.3, or a .safetensors file, onto the CPU. Nothing in it is executed.

    Args:
        mmap: leave the tensors in the file until they are read, where its container allows it. For what is copied at
            once: should the file be shortened meanwhile, such tensors end the process.

    Raises:
        BadInput: the file is missing, broken, or holds more than tensors and plain containers.
    """
    named = f'{flag} {shown(path)}'.strip()
    if fault := why_not_there(path):
        raise BadInput(f'{named}: {fault}')
    if safetensors_file.is_safetensors(path):
        return safetensors_file.read(path, flag)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')   # on odd files PyTorch asks its users to file issues
            scan(path)
            content = torch.load(path, map_location='cpu', weights_only=True, mmap=mmap and zipfile.is_zipfile(path))
    except OSError as error:
        raise BadInput(f'{named}: {error.strerror or "cannot be read"}') from None
    except Refused as error:
        raise BadInput(f'{named}: not loaded: {error}') from None
    except (Foreign, pickle.UnpicklingError) as error:
        found = f' ({shown(error, 80)})' if isinstance(error, Foreign) else ''
        raise BadInput(f'{named}: no checkpoint, or one with more in it than tensors and plain containers{found}, '
                       f'which is not loaded; of a model that was saved whole, save its state_dict()') from None
    except Exception:   # what a broken file raises depends on where it is broken
        raise BadInput(f'{named}: {why_no_checkpoint(path) or "not a checkpoint of PyTorch, or cut short"}') from None
    if not isinstance(content, dict):
        raise BadInput(f'{named}: not a checkpoint but a {type(content).__name__}')
    return content


def load_any(path: str | Path, flag: str, files: Sequence[str] = ('gen', 'dis')) -> tuple[dict, str]:
    """The generators or discriminators of any method in a checkpoint, out of their wrappers, and what they are.

    Args:
        files: which of the two kinds of files to take.

    Raises:
        BadInput: as for `load_file`, and for a file of another kind.
    """
    named = f'{flag} {shown(path)}'
    content, done = unwrap_any(load_file(path, flag))
    if done:
        say_once(f'{named}: {done}')
    kind = kind_of_file(content)
    if not any(kind.startswith({'gen': 'a generator of', 'dis': 'a discriminator'}[file]) for file in files):
        found = describe(content) if kind == 'a file of something else' else f'this is {kind}'
        raise BadInput(f'{named}: {found}; use {" or ".join(f"{file}_XXXXXXXX.pt" for file in files)}')
    return content, kind


def load_single(path: str | Path, first_names: str, flag: str) -> dict:
    """The state_dict of one network, out of its wrappers: see `unwrap_single`. Errors as for `load_file`."""
    state, done = unwrap_single(load_file(path, flag), first_names)
    if done:
        say_once(f'{flag} {shown(path)}: {done}')
    return state


def load_networks(path: str | Path, networks: dict[str, nn.Module], flag: str = '') -> None:
    """Load the networks 'a' and 'b' of a gen_*.pt or dis_*.pt, strictly. Args and errors as for `read_networks`."""
    for name, state in read_networks(path, networks, flag).items():
        networks[name].load_state_dict(state)


def read_networks(path: str | Path, networks: dict[str, nn.Module], flag: str = '') -> dict[str, dict[str, Tensor]]:
    """The state_dicts of the networks 'a' and 'b' in a gen_*.pt or dis_*.pt, held strictly against `networks`.

    Running statistics that files of PyTorch 0.3 carry for instance norms, and that no network owns, are left out;
    the counters that it did not keep for batch norms are those of `networks`.

    Args:
        networks: what the weights are for; only names and shapes count, the meta device will do.

    Returns:
        Tensors that may still lie in the file: to be copied, not kept (see `load_file`).

    Raises:
        BadInput: another kind of file (saying which one is wanted), or weights that do not fit the config (saying
            which key disagrees, where that can be told).
        NotFiniteFile: weights that are not finite numbers.
    """
    named = f'{flag} {shown(path)}'.strip()
    expected = {name: network.state_dict() for name, network in networks.items()}
    kinds = {name: kind_of(state) for name, state in expected.items()}
    content, done = unwrap(load_file(path, flag, mmap=True), kinds)
    wanted = kinds['a'] if 'a' in expected else kind_of_file(expected)
    if done:
        say_once(f'{named}: {done}')
    elif kind_of_file(content) != wanted:
        raise BadInput(f'{named}: {_why_not_wanted(content, wanted, list(expected))}')
    states = {}
    for name, own in expected.items():
        state = {key: value for key, value in content[name].items()
                 if key in own or not key.endswith(('running_mean', 'running_var', 'num_batches_tracked'))}
        state.update({key: own[key] for key in own if key.endswith('num_batches_tracked') and key not in state})
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in own.items()}:
            lines = disagreements(state, own)
            raise BadInput(f'{named}: ' + '; '.join(lines).replace('input_dim', f'input_dim_{name}'))
        fault = fault_of_numbers(state, own)
        if fault:
            raise NotFiniteFile(f'{named}: of network {name}, {fault}')
        states[name] = state
    return states


def _why_not_wanted(content: dict, wanted: str, names: list[str]) -> str:
    """What a checkpoint of another kind is, and which one is wanted."""
    found, method = kind_of_file(content), wanted.split()[-1]
    advice = {'a generator of MUNIT': 'gen_XXXXXXXX.pt', 'a discriminator': 'dis_XXXXXXXX.pt'}.get(
        wanted, f'{"gen" if wanted.startswith("a generator") else "dis"}_XXXXXXXX.pt of --trainer {method}')
    if found == 'a file of something else':
        needed = ' and '.join(repr(name) for name in names)
        return f'{describe(content)}; wanted is {wanted} for {needed}, as in {advice}'
    if found.startswith('a generator of') and wanted.startswith('a generator of'):
        advice += f', or give --trainer {found.split()[-1]} with its config'
    return f'this is {found}; use {advice}'


def disagreements(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> list[str]:
    """Why the weights `found` do not fit where `wanted` are: the config keys that disagree, else the first entries."""
    theirs, ours = settings_of(found), settings_of(wanted)
    lines = [f'the checkpoint has {key} {theirs[key]}, the config says {ours[key]}'
             for key in ours if key in theirs and theirs[key] != ours[key]]
    if not lines:
        odd = [key for key in wanted if key not in found] + [key for key in found if key not in wanted]
        odd += [key for key in wanted if key in found and found[key].shape != wanted[key].shape]
        lines = [f'{len(odd)} entries do not fit the config, the first is {shown(odd[0])}']
    return lines


def fault_of_numbers(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    """What is wrong with the numbers of tensors whose names and shapes are right; '' if nothing."""
    for key, value in found.items():
        if value.is_complex() or value.is_floating_point() != wanted[key].is_floating_point():
            return f'{key} has numbers of another type ({str(value.dtype).removeprefix("torch.")})'
    bad = {key: int((~value.isfinite()).sum()) for key, value in found.items() if not is_finite(value)}
    first = next((key for key in bad if bad[key]), None)
    if first:
        return f'{sum(bad.values())} numbers are NaN or infinite, the first in {first}; use an earlier file'
    return ''


def settings_of(state: dict[str, Tensor]) -> dict[str, int | str]:
    """The config values that the shapes of a state_dict tell."""
    def count(pattern: str) -> int:
        return len({match[0] for match in (re.match(pattern, key) for key in state) if match})

    def size(key: str, axis: int) -> int:
        return state[key].shape[axis] if key in state and state[key].dim() > axis else 0

    activ = 'prelu' if any('.activation.' in key for key in state) else 'other than prelu'
    norm = next((norm for mark, norm in (('.weight_bar', 'sn'), ('.norm.gamma', 'ln'), ('.norm.running_mean', 'bn'))
                 if any(key.endswith(mark) for key in state)), 'none or in')
    content = 'enc_content' if 'enc_content.model.0.conv.weight' in state else 'enc'
    first = f'{content}.model.0.conv.weight'
    if first in state:
        settings: dict[str, int | str] = {
            'gen.dim': size(first, 0), 'input_dim': size(first, 1),
            'gen.n_downsample': count(rf'{content}\.model\.\d+\.conv\.weight') - 1,
            'gen.n_res': count(rf'{content}\.model\.\d+\.model\.\d+\.'),
            'gen.mlp_dim': size('mlp.model.0.fc.weight', 0),
            'gen.style_dim': size('enc_style.model.6.weight', 0), 'gen.activ': activ}
    else:
        settings = {'dis.dim': size('cnns.0.0.conv.weight', 0), 'input_dim': size('cnns.0.0.conv.weight', 1),
                    'dis.num_scales': count(r'cnns\.\d+\.'), 'dis.n_layer': count(r'cnns\.0\.\d+\.') - 1,
                    'dis.activ': activ, 'dis.norm': norm}
    return settings


def find_vgg_weights(name: str) -> Path | str:
    """Where the VGG-16 weights that the config calls `name` are: a file, or 'torchvision' to have it fetch them.

    Where the original's place is empty, torchvision's own cache is looked into.

    Raises:
        BadInput: there is no such file.
    """
    if name == 'torchvision' or os.path.isfile(name):
        return name
    cached = Path(torch.hub.get_dir()) / 'checkpoints' / 'vgg16_features-amdegroot-88682ab5.pth'
    if name == 'models/vgg16.weight' and cached.is_file():
        return cached
    raise BadInput(f'{shown(name)} does not exist; put the original\'s vgg16.weight or torchvision\'s VGG-16 '
                   f'IMAGENET1K_FEATURES file there, or write "vgg_weights: torchvision" to fetch it, or "vgg_w: 0"')


def load_vgg_weights(vgg: Any, name: str) -> None:
    """Load VGG-16 from the original's weight file, or from torchvision's of the same network.

    Raises:
        BadInput: the file is missing, cannot be fetched, or is of another network.
    """
    place = find_vgg_weights(name)
    if place == 'torchvision':
        from torchvision.models import VGG16_Weights
        try:
            state = VGG16_Weights.IMAGENET1K_FEATURES.get_state_dict(progress=True)
        except (OSError, RuntimeError) as error:
            raise BadInput(f'vgg_weights: torchvision cannot fetch them ({error}); name a file instead') from None
    else:
        state = load_single(place, r'features|classifier|conv\d_\d', 'vgg_weights')
    if any(str(key).startswith('features.') for key in state):
        try:
            state = vgg.from_torchvision(state)
        except (AttributeError, LookupError, StopIteration, TypeError, ValueError):   # entries lack, or are no weights
            state = {}
    own = vgg.state_dict()
    if {k: getattr(v, 'shape', None) for k, v in state.items()} != {k: v.shape for k, v in own.items()}:
        raise BadInput(f'vgg_weights {shown(place)}: not VGG-16 (conv1_1 … conv5_3, or features.0 … features.28)')
    fault = fault_of_numbers(state, own)
    if fault:
        raise BadInput(f'vgg_weights {shown(place)}: {fault}')
    vgg.load_state_dict(state)
