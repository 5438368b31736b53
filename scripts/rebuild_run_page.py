"""Rebuild the page of a finished, copied or earlier run.

    python scripts/rebuild_run_page.py outputs/NAME --logs logs/NAME
"""
import html
import re
from pathlib import Path
from typing import Any

import _root  # noqa: F401

from core.errors import BadInput, OneLineParser, shown
from core.files import replace_text
from engine.cli import run_command
from engine.config import read_yaml
from engine.run_page.page import WAYS, Curves, as_script, find_pictures, page_of, read_data


def main(argv: list[str] | None = None) -> None:
    parser = OneLineParser(description='Rebuild the page of a finished, copied or earlier run.')
    parser.add_argument('folder', type=Path, help='folder of the run, outputs/NAME')
    parser.add_argument('--logs', type=Path, help='folder of its TensorBoard files, logs/NAME, for the curves '
                        '(default: keep the curves of the page)')
    parser.add_argument('--rows', nargs='+', help='names of the rows of sample images, if the page has none')
    opts = parser.parse_args(argv)
    if not (opts.folder / 'images').is_dir():
        raise BadInput(f'{shown(opts.folder)}: not the folder of a run; give outputs/NAME, which contains images/')
    if opts.logs is not None and not any(opts.logs.glob('events.out.tfevents.*')):
        raise BadInput(f"--logs {shown(opts.logs)}: contains no TensorBoard files")
    data = {**_found(opts.folder), **(read_data(opts.folder) or {}), 'pictures': find_pictures(opts.folder)}
    if opts.rows:
        data['kinds'] = opts.rows
    if opts.logs is not None:
        curves = Curves.of_log(opts.logs)
        data |= {'curves': curves.data(), 'step': max([data['step'], *curves.steps[-1:]])}
    if data['state'] == 'unknown' and data['max_iter'] == data['step']:
        data['state'] = 'finished'
    replace_text(opts.folder / 'run.js', f'showRun({as_script(data)});\n')
    replace_text(opts.folder / 'index.html', page_of(opts.folder, data))
    print(f'{opts.folder / "index.html"}: written')


def _found(folder: Path) -> dict[str, Any]:
    """Read facts about a run from the page of a version that did not write run.js."""
    page = folder / 'index.html'
    text = page.read_text(encoding='utf-8', errors='replace') if page.exists() else ''
    rows = re.search(r'<p>The rows of a picture: (.*?)\. The page', text)
    now = re.search(r'<h2>Now, after (\d+) iterations', text)
    config = read_yaml(folder / 'config.yaml', 'its') if (folder / 'config.yaml').exists() else {}
    flat = {name: value for name, value in config.items() if not isinstance(value, dict)}
    flat |= {f'{name}.{key}': part for name, value in config.items() if isinstance(value, dict)
             for key, part in value.items()}
    steps = [step for of_split in find_pictures(folder).values() for step in of_split]
    current = int(now[1]) if now and (folder / 'images/gen_a2b_train_current.jpg').exists() else None
    return {'name': folder.resolve().name, 'kinds': html.unescape(rows[1]).split(', ') if rows else [],
            'ways': [way for way in WAYS if any((folder / 'images').glob(f'gen_{way}_*.jpg'))],
            'max_iter': config.get('max_iter'), 'averaged': config.get('ema_decay', 0), 'state': 'unknown',
            'step': max([*steps, current or 0]), 'written': None, 'pace': None, 'current': current,
            'config': [[name, value, None, False] for name, value in flat.items()],
            'curves': Curves().data()}


if __name__ == '__main__':
    run_command(main)
