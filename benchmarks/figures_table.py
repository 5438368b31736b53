"""Compare checkpoints: their metrics in one table, and their outputs for the same inputs on one contact sheet.

    python benchmarks/figures_table.py --output benchmarks/results/demo_over_time \\
        --row "1,000" configs/demo_edges2shoes_folder.yaml runs/ema_00001000.pt \\
        --row "20,000" configs/demo_edges2shoes_folder.yaml runs/ema_00020000.pt

Each row is evaluated by evaluate.py, unless its figures.json in the folder --work exists already. Writes OUTPUT.json,
OUTPUT.md and OUTPUT.png.
"""
import argparse
import json
import sys
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import evaluate
from core.errors import OneLineParser
from core.picture_sheet import sheet
from engine.cli import at_least, run_command

COLUMNS = ('content kept', 'content kept, guided', 'colour error, guided / sampled', 'pattern agreement, guided',
           'colour diversity', 'pattern entropy', 'coverage', 'reconstruction, source', 'reconstruction, target',
           'style code correlation', 'dirty: content kept / clean', 'dirty: colour error, guided / clean')
SHEET_ROWS, SHEET_CELLS = 3, 9    # rows to take from each evaluation's sheet, and its number of columns


def parse_arguments(argv: list[str] | None = None):
    parser = OneLineParser(description=__doc__.split('\n')[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--row', nargs=3, action='append', required=True, metavar=('LABEL', 'CONFIG', 'CHECKPOINT'))
    parser.add_argument('--output', required=True, help='path of the table and the sheet, without extension')
    parser.add_argument('--work', default='outputs/figures_table', help='folder of the evaluations')
    parser.add_argument('--data_root', help="data folder, instead of the configs'")
    parser.add_argument('--dirty_root', help='folder with corrupted versions of the test images')
    parser.add_argument('--num_inputs', type=at_least(1), default=100, help='number of test images to translate')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    opts = parse_arguments(argv)
    rows = [(label, *measured(config, checkpoint, opts)) for label, config, checkpoint in opts.row]
    output = Path(opts.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    content = {label: {'settings': found['settings'], **{row['name']: row['model'] for row in found['figures']}}
               for label, found, _ in rows}
    content['real'] = {figure['name']: figure['real'] for figure in rows[0][1]['figures']}
    output.with_suffix('.json').write_text(json.dumps(content, indent=2, ensure_ascii=False) + '\n', encoding='utf-8')
    table = markdown(content)
    output.with_suffix('.md').write_text(table, encoding='utf-8')
    compared([folder / 'sheet.png' for _, _, folder in rows]).save(output.with_suffix('.png'))
    print(table)


def measured(config: str, checkpoint: str, opts: argparse.Namespace) -> tuple[dict, Path]:
    """The content of a checkpoint's figures.json, and the folder that contains it and sheet.png."""
    folder = Path(opts.work) / '_'.join(Path(checkpoint).parts[-3:]).removesuffix('.pt')
    if not (folder / 'figures.json').exists():
        arguments = ['--config', config, '--checkpoint', checkpoint, '--output_folder', str(folder), '--num_inputs',
                     str(opts.num_inputs), '--without', *evaluate.EXPENSIVE]
        for name in ('data_root', 'dirty_root'):
            if getattr(opts, name):
                arguments += [f'--{name}', getattr(opts, name)]
        evaluate.main(arguments)
    return json.loads((folder / 'figures.json').read_text(encoding='utf-8')), folder


def markdown(content: dict[str, dict]) -> str:
    """A Markdown table with a row for each label and a column for each metric that any row has."""
    columns = [name for name in COLUMNS if any(name in figures for figures in content.values())]

    def cell(value: float | None) -> str:
        return '–' if value is None else f'{value:.2f}' if value >= 0.2 else f'{value:.3f}'

    lines = ['| | ' + ' | '.join(columns) + ' |', '|---' * (len(columns) + 1) + '|']
    lines += [f'| {label} | ' + ' | '.join(cell(figures.get(name)) for name in columns) + ' |'
              for label, figures in content.items()]
    return '\n'.join(lines) + '\n'


def compared(paths: list[Path]) -> Image.Image:
    """The first rows of the evaluations' sheets, grouped by input.

    All evaluations have the same inputs, example images and sampled styles, since their seed is the same.
    """
    sheets = [Image.open(path).convert('RGB') for path in paths]
    width, cell = sheets[0].width, sheets[0].width // SHEET_CELLS
    return sheet([[one.crop((0, row * cell, width, (row + 1) * cell)) if row < one.height // cell else None]
                  for row in range(SHEET_ROWS) for one in sheets], (width, cell), gap=0)


if __name__ == '__main__':
    run_command(main)
