"""Around a run: the command line, the device, checkpoint files, picture grids and the page that shows them."""
import argparse
import html
import os
import pickle
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.utils import make_grid

from data import BadInput
from networks import Vgg16

# ---------------------------------------------------------------------------------------------------------------------
# Commands
# ---------------------------------------------------------------------------------------------------------------------

class Parser(argparse.ArgumentParser):
    """An argument parser with the flags that all commands share, whose complaint is one line on stderr."""

    def __init__(self, description: str, config: str | None = None):
        super().__init__(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        self.add_argument('--config', required=config is None, default=config, help='YAML file of the run')
        self.add_argument('--trainer', default='MUNIT', choices=('MUNIT', 'UNIT'), help='which of the two methods')
        self.add_argument('--device', default='auto', help='auto, cpu, cuda, cuda:N or mps; auto takes the best')
        self.add_argument('--output_path', default='.', help='where train.py keeps logs/ and outputs/')

    def error(self, message: str):
        self.exit(2, f'{self.prog}: {message} (see {self.prog} --help)\n')


def at_least(low: int) -> Callable[[str], int]:
    """An argparse type: a whole number of at least `low`."""
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low:
            raise argparse.ArgumentTypeError(f'{text!r} is not a whole number of at least {low}')
        return value
    return parse


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command's main and exit with its status; a user's mistake becomes its line on stderr and status 2."""
    for output in (sys.stdout, sys.stderr):   # a console or log of another encoding must not end a run at a × sign
        if hasattr(output, 'reconfigure'):
            output.reconfigure(errors='replace')
    try:
        sys.exit(main() or 0)
    except BadInput as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:   # where nothing is trained yet, there is nothing to save
        sys.exit(130)


def choose_device(name: str) -> torch.device:
    """The device called auto, cpu, cuda, cuda:N or mps; auto takes the best that is there.

    Raises:
        BadInput: the name is none of these, or this machine has no such device.
    """
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'mps' if torch.backends.mps.is_available() else 'cpu'
    if not re.fullmatch(r'cpu|cuda(:\d+)?|mps', name):
        raise BadInput(f'--device {name}: not one of auto, cpu, cuda, cuda:N, mps')
    there = {'cpu': 1, 'cuda': torch.cuda.device_count(), 'mps': int(torch.backends.mps.is_available())}
    device = torch.device(name)
    if (device.index or 0) >= there[device.type]:
        raise BadInput(f'--device {name}: this machine has {there[device.type]} {device.type} devices that PyTorch '
                       f'can use; --device auto takes what is there')
    return device


def make_folder(path: str | Path, flag: str) -> Path:
    """Make the folder that `flag` names, with its parents, and try that it can be written.

    Raises:
        BadInput: it cannot be made or written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f'{flag} {path}: cannot be made a folder ({error.strerror})') from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise BadInput(f'{flag} {path}: cannot be written')
    return path


# ---------------------------------------------------------------------------------------------------------------------
# Checkpoint files
# ---------------------------------------------------------------------------------------------------------------------

def save_file(content: dict, path: Path) -> None:
    """Write a checkpoint beside its place and rename it there, so that a file under its name is a whole one."""
    beside = path.with_name(path.name + '.part')
    with open(beside, 'wb') as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def load_file(path: str | Path, flag: str = '') -> dict:
    """Read a checkpoint of any PyTorch since 0.3 onto the CPU. Nothing that a file contains is executed.

    Raises:
        BadInput: the file is missing, broken, or holds more than tensors and plain containers.
    """
    named = f'{flag} {path}'.strip()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')   # on odd files PyTorch asks its users to file issues
            content = torch.load(path, map_location='cpu', weights_only=True)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise BadInput(f'{named}: {error.strerror}') from None
    except pickle.UnpicklingError:
        raise BadInput(f'{named}: no checkpoint, or one with more in it than tensors and plain containers, '
                       f'which is not loaded') from None
    except Exception:   # what a broken file raises depends on where it is broken
        raise BadInput(f'{named}: not a checkpoint of PyTorch, or cut short') from None
    if not isinstance(content, dict):
        raise BadInput(f'{named}: not a checkpoint but a {type(content).__name__}')
    return content


def load_networks(path: str | Path, networks: dict[str, nn.Module], flag: str = '') -> None:
    """Load the networks 'a' and 'b' of a gen_*.pt or dis_*.pt, strictly.

    Running statistics that files of PyTorch 0.3 carry for instance norms, and that no network owns, are left out.

    Raises:
        BadInput: another kind of file (saying which one is wanted), or weights that do not fit the config (saying
            which key disagrees, where that can be told).
    """
    named = f'{flag} {path}'.strip()
    content = load_file(path, flag)
    wanted, found = kind_of(next(iter(networks.values())).state_dict()), kind_of_file(content)
    if found != wanted:
        advice = {'a generator of MUNIT': 'gen_XXXXXXXX.pt', 'a generator of UNIT': 'gen_XXXXXXXX.pt of --trainer UNIT',
                  'a discriminator': 'dis_XXXXXXXX.pt'}[wanted]
        if {found, wanted} == {'a generator of MUNIT', 'a generator of UNIT'}:
            advice += f', or give --trainer {found.split()[-1]} with its config'
        raise BadInput(f'{named}: this is {found}; use {advice}')
    for name, network in networks.items():
        own = network.state_dict()
        state = {key: value for key, value in content[name].items()
                 if key in own or not key.endswith(('running_mean', 'running_var', 'num_batches_tracked'))}
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in own.items()}:
            lines = disagreements(state, own)
            raise BadInput(f'{named}: ' + '; '.join(lines).replace('input_dim', f'input_dim_{name}'))
        network.load_state_dict(state)


def kind_of_file(content: dict) -> str:
    """What a checkpoint file is, in words."""
    if {'gen', 'dis'} <= content.keys():
        return 'an optimizer state'
    if {'a', 'b'} <= content.keys():
        kinds = [kind_of(content[name]) if isinstance(content[name], dict) else 'not a state_dict' for name in 'ab']
        return kinds[0] if kinds[0] == kinds[1] else f'{kinds[0]} beside {kinds[1]}'
    return kind_of(content) + " without the entries 'a' and 'b'"


def kind_of(state: dict) -> str:
    """What a state_dict belongs to, in words."""
    keys = [key for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)]
    if len(keys) != len(state):
        return 'not a state_dict'
    for prefix, kind in (('enc_style.', 'a generator of MUNIT'), ('enc.', 'a generator of UNIT'),
                         ('cnns.', 'a discriminator')):
        if any(key.startswith(prefix) for key in keys):
            return kind
    return 'a file of something else'


def disagreements(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> list[str]:
    """Why the weights `found` do not fit where `wanted` are: the config keys that disagree, else the first entries."""
    theirs, ours = settings_of(found), settings_of(wanted)
    lines = [f'the checkpoint has {key} {theirs[key]}, the config says {ours[key]}'
             for key in ours if key in theirs and theirs[key] != ours[key]]
    if not lines:
        odd = [key for key in wanted if key not in found] + [key for key in found if key not in wanted]
        odd += [key for key in wanted if key in found and found[key].shape != wanted[key].shape]
        lines = [f'{len(odd)} entries do not fit the config, the first is {odd[0]}']
    return lines


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
        settings = {'gen.dim': size(first, 0), 'input_dim': size(first, 1),
                    'gen.n_downsample': count(rf'{content}\.model\.\d+\.conv\.weight') - 1,
                    'gen.n_res': count(rf'{content}\.model\.\d+\.model\.\d+\.'),
                    'gen.mlp_dim': size('mlp.model.0.fc.weight', 0),
                    'gen.style_dim': size('enc_style.model.6.weight', 0), 'gen.activ': activ}
    else:
        settings = {'dis.dim': size('cnns.0.0.conv.weight', 0), 'input_dim': size('cnns.0.0.conv.weight', 1),
                    'dis.num_scales': count(r'cnns\.\d+\.'), 'dis.n_layer': count(r'cnns\.0\.\d+\.') - 1,
                    'dis.activ': activ, 'dis.norm': norm}
    return settings


def latest_snapshot(folder: Path) -> int | None:
    """The highest step of which `folder` holds both gen_%08d.pt and dis_%08d.pt, or None."""
    def steps(kind: str) -> set[int]:
        names = [path.name for path in folder.glob(f'{kind}_*.pt')]
        return {int(match[1]) for match in (re.fullmatch(rf'{kind}_(\d{{8,}})\.pt', name) for name in names) if match}

    return max(steps('gen') & steps('dis'), default=None)


def find_vgg_weights(name: str) -> Path | str:
    """Where the VGG-16 weights that the config calls `name` are: a file, or 'torchvision' to have it fetch them.

    Where the original's place is empty, torchvision's own cache is looked into.

    Raises:
        BadInput: there is no such file.
    """
    if name == 'torchvision' or Path(name).is_file():
        return name
    cached = Path(torch.hub.get_dir()) / 'checkpoints' / 'vgg16_features-amdegroot-88682ab5.pth'
    if name == 'models/vgg16.weight' and cached.is_file():
        return cached
    raise BadInput(f'{name} does not exist; put the original\'s vgg16.weight or torchvision\'s VGG-16 '
                   f'IMAGENET1K_FEATURES file there, or write "vgg_weights: torchvision" to fetch it, or "vgg_w: 0"')


def load_vgg_weights(vgg: Vgg16, name: str) -> None:
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
        state = load_file(place, 'vgg_weights')
    if any(str(key).startswith('features.') for key in state):
        state = Vgg16.from_torchvision(state)
    own = vgg.state_dict()
    if {k: getattr(v, 'shape', None) for k, v in state.items()} != {k: v.shape for k, v in own.items()}:
        raise BadInput(f'vgg_weights {place}: not VGG-16 (conv1_1 … conv5_3, or features.0 … features.28)')
    vgg.load_state_dict(state)


# ---------------------------------------------------------------------------------------------------------------------
# Pictures and the page
# ---------------------------------------------------------------------------------------------------------------------

def to_picture(images: Tensor, normalize: bool = False) -> Tensor:
    """Images (N, C, H, W) in [-1, 1] -> values in [0, 1] on the CPU, the decoder's own colours.

    Args:
        normalize: stretch each call's images to the full range instead, as the original did.
    """
    images = images.detach().float().cpu()
    if normalize:
        low, high = images.min(), images.max()
        return (images - low) / (high - low).clamp(min=1e-5)
    return ((images + 1) / 2).clamp(0, 1)


def write_picture(picture: Tensor, path: Path) -> None:
    """Write a picture (1 or 3, H, W) in [0, 1]; the ending of the name says the format."""
    array = picture.mul(255).add(0.5).clamp(0, 255).byte().permute(1, 2, 0).numpy()
    options = {'quality': 95, 'subsampling': 0} if path.suffix.lower() in ('.jpg', '.jpeg') else {}
    Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).save(path, **options)


def picture_grid(rows: Sequence[Tensor]) -> Tensor:
    """Rows of images, each (N, 1 or 3, H, W) in [-1, 1] -> one picture (3, rows·H, N·W) in [0, 1]."""
    images = torch.cat([to_picture(row).expand(-1, 3, -1, -1) for row in rows])
    return make_grid(images, nrow=len(rows[0]), padding=0)


def write_page(folder: Path, name: str, step: int, saved_steps: Sequence[int]) -> None:
    """Write index.html of a run: the current pictures, then those of the saved steps, newest first.

    Args:
        folder: the run's folder; its pictures lie in `images/`.
        name: the run's name.
        step: iterations done.
        saved_steps: steps whose gen_{a2b,b2a}_{train,test}_%08d.jpg are there.
    """
    def figure(picture: str, caption: str) -> str:
        return (f'<figure><figcaption>{caption}</figcaption>'
                f'<a href="images/{picture}"><img src="images/{picture}" alt="{caption}"></a></figure>')

    def section(title: str, postfixes: Sequence[str]) -> str:
        figures = [figure(f'gen_{way}_{postfix}.jpg', f'{arrow}, {postfix.split("_")[0]} images')
                   for postfix in postfixes for way, arrow in (('a2b', 'A → B'), ('b2a', 'B → A'))
                   if (folder / 'images' / f'gen_{way}_{postfix}.jpg').exists()]
        return '\n'.join([f'<h2>{title}</h2>', *figures]) if figures else ''

    sections = [section(f'Now, after {step} iterations', ['train_current'])]
    sections += [section(f'After {saved} iterations', [f'test_{saved:08d}', f'train_{saved:08d}'])
                 for saved in sorted(saved_steps, reverse=True)]
    title = html.escape(name)
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="30">
<meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem }}
figure {{ margin: 0 0 1.5rem }} img {{ width: 100%; max-width: 1536px }}</style></head>
<body><h1>{title}</h1>
<p>A row each: input, its reconstruction, translations (MUNIT: with a style that stays the same over the run, then with
a random one). The page reloads itself.</p>
{chr(10).join(sections)}
</body></html>
"""
    beside = folder / 'index.html.part'
    beside.write_text(page, encoding='utf-8')
    os.replace(beside, folder / 'index.html')
