"""Write the tables of the docs from the JSON files that benchmarks and evaluations wrote, and check quoted figures.

    python scripts/write_results_tables.py            # write
    python scripts/write_results_tables.py --check    # write nothing; exit status 1 where a document differs

A table stands between the lines `<!-- table: NAME -->` and `<!-- end -->`; `TABLES` says from which files it comes.
`QUOTES` are sentences with figures; they are only checked, and a sentence that has to change is printed.
"""
import json
import re
import sys
from collections.abc import Callable
from typing import NamedTuple

from _root import ROOT

from core.errors import BadInput, OneLineParser
from core.files import replace_text
from engine.cli import run_command
from scripts import table1

RESULTS = 'benchmarks/results'


def read(name: str) -> dict | list:
    """The content of a JSON file: of a path from the project's root."""
    return json.loads((ROOT / name).read_text(encoding='utf-8'))


def table(heads: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    return [f'| {" | ".join(heads)} |', '|---' * len(heads) + '|', *(f'| {" | ".join(row)} |' for row in rows)]


def number(value: float | None, form: str) -> str:
    """A number in this format, or a dash."""
    return '–' if value is None else format(value, form)


def aim(target: float, values: list[float], higher: bool) -> str:
    """A target, and whether one of the values misses it."""
    missed = any(value < target if higher else value > target for value in values)
    return f'**{target:g}: missed**' if missed else f'{target:g}'


# ---------------------------------------------------------------------------------------------------------------------
# docs/results.md
# ---------------------------------------------------------------------------------------------------------------------

PHOTOS = (   # metric of scripts/evaluate_photos.py, target, whether higher is better
    ('content kept, of that of real pairs', 0.8, True),
    ('guided colour error, of that of random styles', 0.3, False),
    ('colour diversity, of that of real photographs', 0.7, True),
    ('coverage of real colours', 0.7, True),
    ('broken outputs', 0.05, False),
)


def shirts(large: dict, small: dict) -> list[str]:
    """The shipped models of shirts."""
    rows = []
    for name, target, higher in PHOTOS:
        values = [found['metrics'][name] for found in (large, small)]
        rows.append([name, *(f'{value:.2f}' for value in values), aim(target, values, higher)])
    return table(['', '`edges2shirts.pt`, 128×128', '`edges2shirts64.pt`, 64×64', 'aimed at'], rows)


def recipes(rows: list[dict]) -> list[str]:
    """Recipes that were compared one change at a time (benchmarks/recipes.py)."""
    labels = {'plain': "the config with the original's first weights", 'dis.init': '`dis.init: kaiming`'}
    metrics = [name for name, *_ in PHOTOS]
    return table(['', 'seed', 'images', 'minutes', 'content kept', 'guided error', 'diversity', 'coverage', 'broken'],
                 [[labels.get(row['row'], row['row']), str(row['seed']), f'{row["images"]:,}', f'{row["minutes"]:.0f}',
                   *(f'{row["metrics"][name]:.2f}' for name in metrics)] for row in rows])


OVER_TIME = (   # metric of evaluate.py, heading, format
    ('content kept', 'content kept', '.2f'),
    ('colour error, guided / sampled', 'colour error, guided / sampled', '.2f'),
    ('pattern agreement, guided', 'pattern agreement', '.2f'),
    ('colour diversity', 'colour diversity', '.1f'),
    ('pattern entropy', 'pattern entropy', '.2f'),
    ('coverage', 'coverage', '.2f'),
    ('reconstruction, target', 'L1 of pictures', '.3f'),
    ('dirty: content kept / clean', 'content kept, dirty / clean', '.2f'),
)


def demo_over_time(found: dict) -> list[str]:
    """The model of drawn data after some numbers of iterations."""
    return table(['iterations', *(head for _, head, _ in OVER_TIME)],
                 [['real pictures' if label == 'real' else f'{int(label):,}',
                   *(number(figures[name], form) for name, _, form in OVER_TIME)] for label, figures in found.items()])


def demo_targets(about: dict) -> list[str]:
    """The model of drawn data on its test set and on fresh data."""
    sets = [{row['name']: row for row in about[key]} for key in ('figures', 'fresh data, seed 4711')]

    def of_real(name: str) -> list[float]:
        return [rows[name]['model'] / rows[name]['real'] for rows in sets]

    def found(name: str) -> list[float]:
        return [rows[name]['model'] for rows in sets]

    rows = [('content kept, of that of real pairs', of_real('content kept'), 0.85, True),
            ('colour diversity, of that of real pictures', of_real('colour diversity'), 0.7, True),
            ('coverage, of that of real pictures', of_real('coverage'), 0.7, True),
            ('colour error of guided outputs, of that of random styles', found('colour error, guided / sampled'), 0.4,
             False),
            ('content kept from dirty drawings, of that from clean ones', found('dirty: content kept / clean'), 0.95,
             True)]
    return table(['', 'its test set', 'fresh data, seed 4711', 'aimed at'],
                 [[name, *(f'{value:.2f}' for value in values), aim(target, values, higher)]
                  for name, values, target, higher in rows])


def quality(report: dict) -> list[str]:
    """Recipes over minutes of training."""
    sys.path.insert(0, str(ROOT))
    from benchmarks.quality import FIGURES
    from benchmarks.quality import table as table_of_quality
    return table_of_quality(report, {name: figure.threshold for name, figure in FIGURES.items() if figure.threshold})


# ---------------------------------------------------------------------------------------------------------------------
# docs/table1.md and docs/performance.md
# ---------------------------------------------------------------------------------------------------------------------

def table_1(found: dict) -> list[str]:
    """The paper's comparison (scripts/table1.py)."""
    columns = [column for column in table1.COLUMNS if any(column.figure in row['figures'] for row in found['rows'])]
    columns.sort(key=lambda column: not column.quality)

    def cell(figure: dict | None, digits: int) -> str:
        if figure is None:
            return '–'
        deviation = figure['deviation']
        return f'{figure["mean"]:.{digits}f}' + ('' if deviation is None else f' ± {deviation:.{digits}f}')

    rows = []
    for row in found['rows']:
        others = row['iterations'] not in (0, found['budget']['iterations'])
        paper = [number(value, '.1f') if i % 2 == 0 else number(value, '.3f').lstrip('0')
                 for i, value in enumerate(table1.PAPER.get(row['paper'], (None,) * 4))]
        rows.append([row['name'] + (f' ({row["iterations"]} iterations)' if others else ''),
                     *(cell(row['figures'].get(column.figure), column.digits) for column in columns),
                     f'{paper[0]} / {paper[1]}', f'{paper[2]} / {paper[3]}'])
    return table(['', *(column.head for column in columns), 'paper, shoes: % / LPIPS', 'paper, handbags: % / LPIPS'],
                 rows)


SPEED = (   # file, precision, compile, heading of the row; * is of the second day
    ('speed-batch-1', 'fp32', 'no', '1', 'fp32'),
    ('speed-batch-1', 'tf32', 'graphs', '1', 'tf32, graph'),
    ('speed-batch-1', 'bf16', 'no', '1', 'bf16'),
    ('speed-batch-1', 'bf16', 'graphs', '1', 'bf16, graph'),
    ('speed-batch-1-graph', 'bf16', 'graphs', '1*', 'bf16, graph'),
    ('speed-channels-last', 'bf16', 'channels_last+graphs', '1', 'bf16, graph, `--channels_last`'),
    ('speed-batch-16', 'bf16', 'graphs', '16', 'bf16, graph'),
    ('speed-batch-16-compiled', 'bf16', 'compile+graphs', '16*', 'bf16, graph, `--compile`'),
)


def speed(*reports: dict) -> list[str]:
    """An iteration on the H200; the reports are those that `SPEED` names."""
    rows = []
    for report, (_, precision, how, batch, label) in zip(reports, SPEED, strict=True):
        case = next(case for case in report['cases'] if (case['precision'], case['compile']) == (precision, how))
        rows.append([batch, label, f'{1000 * case["original_s"]:.1f}', f'{1000 * case["update_s"]:.1f}',
                     f'{1 / case["time_ratio"]:.1f}', f'{case["tflop_per_s"]:.0f}', f'{case["memory_ratio"]:.2f}'])
    return table(['batch', '`update`', "original's way, ms", '`update`, ms', 'times as fast', 'TFLOP/s of `update`',
                  "memory, of the original's way"], rows)


def devices(found: dict) -> list[str]:
    """Losses on a GPU, compared with the CPU's."""
    labels = {'MUNIT': 'MUNIT', 'MUNIT, cycle, sn': 'MUNIT, cycle loss, spectral norm',
              'MUNIT, options': 'MUNIT, cycle loss, averaged weights, corrupted inputs, clipping, hinge',
              'UNIT': 'UNIT'}
    return table(['', 'fp32 from the CPU', 'tf32', 'bf16', 'graph from single operations, after six'],
                 [[label, *(f'{found[name][of]:.1e}'.replace('e-0', 'e-') for of in ('fp32', 'tf32', 'bf16', 'graph'))]
                  for name, label in labels.items()])


# ---------------------------------------------------------------------------------------------------------------------
# Documents
# ---------------------------------------------------------------------------------------------------------------------

class Table(NamedTuple):
    """A table: its page, what makes it, and of which files' contents."""
    page: str
    make: Callable[..., list[str]]
    files: tuple[str, ...]


H200 = f'{RESULTS}/nvidia-h200'
TABLES = {
    'shirts': Table('docs/results.md', shirts, (f'{RESULTS}/edges2shirts.json', f'{RESULTS}/edges2shirts64.json')),
    'recipes': Table('docs/results.md', recipes, (f'{RESULTS}/recipes.json',)),
    'demo over time': Table('docs/results.md', demo_over_time, (f'{RESULTS}/demo_over_time.json',)),
    'demo targets': Table('docs/results.md', demo_targets, ('models/demo_edges2shoes.json',)),
    'quality, shirts': Table('docs/results.md', quality, (f'{RESULTS}/quality_shirts.json',)),
    'quality, drawn': Table('docs/results.md', quality, (f'{RESULTS}/quality_drawn.json',)),
    'table 1': Table('docs/table1.md', table_1, (f'{RESULTS}/table1_demo.json',)),
    'speed': Table('docs/performance.md', speed, tuple(f'{H200}/{file}.json' for file, *_ in SPEED)),
    'devices': Table('docs/performance.md', devices, (f'{H200}/devices.json',)),
}


def translation_sentence() -> str:
    found = read(f'{H200}/translation.json')
    return (f'`test_batch.py --precision {found["precision"]} --batch_size {found["batch_size"]}` on {found["images"]} '
            f'images with ten styles each: {found["batched_images_per_s"]:.1f} images/s, {found["ratio"]:.1f} times '
            f'the {found["one_by_one_images_per_s"]:.1f} images/s of one after the other in fp32')


def matrix_sentence() -> str:
    large, small = (read(f'{H200}/speed-batch-{batch}.json')['matrix_tflop_per_s'] for batch in (16, 1))
    return (f'A matrix product reached {large["bf16"]:.0f} TFLOP/s in bf16, {small["tf32"]:.0f} in tf32 and '
            f'{small["fp32"]:.0f} in fp32.')


def readme_sentence() -> str:
    case = read(f'{H200}/speed-batch-1.json')['cases'][0]
    apart = f'{read(f"{H200}/devices.json")["MUNIT"]["fp32"]:.1e}'.replace('e-0', 'e-')
    return (f'an iteration at batch {case["batch"]} takes {1000 * case["update_s"]:.1f} ms in {case["precision"]} as a '
            f"CUDA graph, and {1000 * case['original_s']:.1f} ms computed in the original's way; losses agree with the "
            f"CPU's to {apart} in fp32")


def pixel_diversity(file: str, *rows: str) -> list[float]:
    """The pixel diversity of rows of a table 1."""
    found = {row['name']: row['figures']['pixel diversity']['mean'] for row in read(f'{RESULTS}/{file}')['rows']}
    return [found[row] for row in rows]


def one_to_one_sentence() -> str:
    *some, whole, paired = pixel_diversity('table1_demo.json', 'UNIT', 'CycleGAN', 'CycleGAN* with noise', 'MUNIT',
                                           'BicycleGAN (paired)')
    shares = [one / whole for one in some]
    return (f"the one-to-one models have {min(shares):.2f} to {max(shares):.2f} times MUNIT's pixel diversity, "
            f'removing `recon_s` lowers diversity, and removing `recon_x` lowers quality. MUNIT has '
            f'{whole / paired:.1f} times the diversity of the paired model')


def second_seed_sentence() -> str:
    whole, without = pixel_diversity('table1_demo_recon_s_seed1.json', 'MUNIT', 'MUNIT without recon_s')
    return f'the pixel diversity of MUNIT is {whole:,.0f}, and {without:,.0f} without `recon_s`'


def other_seed_sentence() -> str:
    whole, = pixel_diversity('table1_demo_recon_s_seed1.json', 'MUNIT')
    unit, cyclegan, paired = pixel_diversity('table1_demo.json', 'UNIT', 'CycleGAN', 'BicycleGAN (paired)')
    return (f'still as diverse as the paired model ({whole / paired:.1f} times), and UNIT and CycleGAN still hardly '
            f'vary ({unit / whole:.2f} and {cyclegan / whole:.2f} times MUNIT)')


def order_sentence() -> str:
    rows = read(f'{RESULTS}/table1_demo.json')['rows']
    diversity = {row['paper']: row['figures']['pixel diversity']['mean'] for row in rows}
    line, = table1.order_of_diversity(diversity, 'pixel diversity')
    agreed, pairs = re.findall(r'(\d+) of (\d+) pairs', line)[0]
    return (f'orders {pairs} pairs of rows by diversity in the same way on both of its data sets; {agreed} of them '
            f'have the same order here')


def bf16_sentence() -> str:
    terms = read(f'{RESULTS}/curves-cpu-fp32-bf16.json')['terms'].values()
    apart = [100 * term['apart_from_fp32']['bf16'] for term in terms]
    return f'the smoothed curves are {min(apart):.1f} to {max(apart):.1f} % apart'


QUOTES = (('README.md', readme_sentence),
          ('docs/performance.md', translation_sentence), ('docs/performance.md', matrix_sentence),
          ('docs/table1.md', one_to_one_sentence), ('docs/table1.md', second_seed_sentence),
          ('docs/table1.md', other_seed_sentence), ('docs/table1.md', order_sentence),
          ('benchmarks/README.md', bf16_sentence))


def filled(page: str, text: str) -> str:
    """The text of a page with its tables written again.

    Raises:
        BadInput: a table has no markers, or a marker names no table of this page.
    """
    named = re.findall(r'<!-- table: (.*?) -->', text)
    known = [name for name, one in TABLES.items() if one.page == page]
    if strange := [name for name in named if name not in known]:
        raise BadInput(f'{page}: no table is called {strange[0]}; there are {"; ".join(known)}')
    for name in known:
        files = TABLES[name].files
        if name not in named and not all((ROOT / file).exists() for file in files):
            continue   # not measured yet
        lines = TABLES[name].make(*(read(file) for file in files))
        text, count = re.subn(rf'(<!-- table: {re.escape(name)} -->\n).*?(<!-- end -->)',
                              lambda match, lines=lines: match[1] + '\n'.join(lines) + '\n' + match[2], text,
                              flags=re.S)
        if count != 1:
            raise BadInput(f'{page}: it needs the lines <!-- table: {name} --> and <!-- end --> once, for '
                           f'{", ".join(files)}')
    return text


def wrong_quotes() -> list[str]:
    """A line for each sentence that its page does not have in these words and figures."""
    faults = []
    for page, sentence in QUOTES:
        words = ' '.join((ROOT / page).read_text(encoding='utf-8').split())
        if sentence() not in words:
            faults.append(f'{page}: by the JSON files, it should say: {sentence()}')
    return faults


def main(argv: list[str] | None = None) -> int:
    parser = OneLineParser(description='Write the tables of the docs from the JSON files of results.')
    parser.add_argument('--check', action='store_true', help='write nothing; exit status 1 where a document differs')
    opts = parser.parse_args(argv)
    faults = wrong_quotes()
    for page in sorted({one.page for one in TABLES.values()}):
        before = (ROOT / page).read_text(encoding='utf-8')
        after = filled(page, before)
        if opts.check and before != after:
            faults.append(f'{page} differs from the JSON files: python scripts/write_results_tables.py')
        elif before != after:
            replace_text(ROOT / page, after)
            print(f'wrote {page}')
    for fault in faults:
        print(fault, file=sys.stderr)
    return int(bool(faults))


if __name__ == '__main__':
    run_command(main)
