"""Checkpoints as safetensors files: tensors under flat names, and texts about them. Nothing in them can be executed.

An entry `enc_content.model.0.conv.weight` of the network 'a' is called `a.enc_content.model.0.conv.weight`. The texts
are `method`, of `--trainer`, and `config`: what the networks need of the config, as JSON.
"""
import json
import os
import warnings
from pathlib import Path

from core.errors import BadInput, shown
from core.wrong_files import why_no_checkpoint, why_not_there

ENDING = '.safetensors'
NETWORKS = ({'a', 'b'}, {'b', 'enc_b'}, {'b', 'b2'})   # what files of several networks hold


def is_safetensors(path: str | Path) -> bool:
    """Whether the file's name says that it is one."""
    return str(path).endswith(ENDING)


def read(path: str | Path, flag: str = '') -> dict:
    """The content that `write` was given, on the CPU; of files of one network, its tensors by their names.

    Raises:
        BadInput: the file is broken, or the library is missing.
    """
    with _opened(path, flag) as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}   # noqa: SIM118 — not a dict
    names = {key.split('.')[0] for key in tensors}
    if names not in NETWORKS:
        return tensors
    return {name: {key.removeprefix(f'{name}.'): value for key, value in tensors.items()
                   if key.startswith(f'{name}.')} for name in sorted(names)}


def read_about(path: str | Path, flag: str = '') -> tuple[str, dict]:
    """Method and config of the networks in a file, neither of them checked: ('', {}) where it does not say.

    Raises:
        BadInput: as for `read`.
    """
    with _opened(path, flag) as file:
        texts = file.metadata() or {}
    try:
        config = json.loads(texts.get('config', '{}'))
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise BadInput(f'{flag} {shown(path)}: the config in it is not JSON of a config; give --config')
    return texts.get('method', ''), config


def write(content: dict, path: Path, method: str, config: dict) -> None:
    """Write networks and what they need of the config.

    Args:
        content: the state_dicts of networks by their names, as a gen_*.pt has them.

    Raises:
        BadInput: the library is missing.
        OSError: the disk is full, or fails.
    """
    _require()
    from safetensors import SafetensorError
    from safetensors.torch import save_file
    # Copies: tensors that share their numbers would be refused.
    tensors = {f'{name}.{key}': value.detach().clone().contiguous() for name, state in content.items()
               for key, value in state.items()}
    try:
        save_file(tensors, path, {'format': 'pt', 'method': method, 'config': json.dumps(config)})
    except SafetensorError as error:   # of the disk, too
        raise OSError(str(error)) from None


def _opened(path: str | Path, flag: str):
    """The file, open.

    Raises:
        BadInput: there is none, or it is broken.
    """
    _require()
    from safetensors import safe_open
    if fault := why_not_there(path):
        raise BadInput(f'{flag} {shown(path)}: {fault}'.strip())
    try:
        return safe_open(os.fspath(path), framework='pt', device='cpu')
    except Exception as error:   # SafetensorError, and where it comes from other kinds
        why = why_no_checkpoint(path) or f'not a safetensors file, or cut short ({shown(error, 120)})'
        raise BadInput(f'{flag} {shown(path)}: {why}'.strip()) from None


def _require() -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            import safetensors.torch  # noqa: F401
    except ImportError:
        raise BadInput('safetensors is not installed: pip install -r requirements.txt') from None
