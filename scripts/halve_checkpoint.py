"""Convert a gen_*.pt to half precision, which halves its size. All commands can read the result.

    python scripts/halve_checkpoint.py --input outputs/NAME/checkpoints/gen_00100000.pt --output models/NAME.pt

The weights are converted back to 32-bit numbers when they are read. Half-precision files are meant for distribution;
keep the original file to continue training.
"""
from pathlib import Path

import _root  # noqa: F401
import torch

from core.checkpoints import load_any, put_file
from core.errors import BadInput, OneLineParser, shown
from core.files import make_folder, refuse_overwriting
from core.safetensors_file import is_safetensors
from engine.cli import run_command


def main(argv: list[str] | None = None) -> None:
    parser = OneLineParser(description=__doc__.split('\n')[0])
    parser.add_argument('--input', required=True, help='a gen_XXXXXXXX.pt or ema_XXXXXXXX.pt')
    parser.add_argument('--output', required=True, help='the file to write')
    opts = parser.parse_args(argv)
    if is_safetensors(opts.output):
        raise BadInput(f'--output {shown(opts.output)}: this command writes PyTorch files; use the extension .pt, '
                       f'and then export_onnx.py --format safetensors')
    refuse_overwriting([Path(opts.output)], [opts.input], '--output')
    content, _ = load_any(opts.input, '--input', ('gen',))
    halved = {name: {key: value.half() if value.dtype == torch.float32 else value for key, value in state.items()}
              for name, state in content.items()}
    if not all(value.isfinite().all() for state in halved.values() for value in state.values()):
        raise BadInput(f'--input {shown(opts.input)}: has weights above 65504, the largest number in half precision')
    output = Path(opts.output)
    make_folder(output.parent, '--output')
    put_file(halved, output, '--output')
    print(f'wrote {output}, {output.stat().st_size / 2 ** 20:.1f} MiB')


if __name__ == '__main__':
    run_command(main)
