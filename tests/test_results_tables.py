"""Tables and sentences with figures in the docs agree with the JSON files of results."""
import copy
import json
from pathlib import Path

import pytest
from test_commands import complaint

from scripts import write_results_tables as script

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the pages and of the JSON files, which the script takes for the project."""
    files = {file for one in script.TABLES.values() for file in (one.page, *one.files)}
    files |= {page for page, _ in script.QUOTES}
    files |= {str(path.relative_to(ROOT)) for path in (ROOT / script.RESULTS).rglob('*.json')}
    for name in files:
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.setattr(script, 'ROOT', tmp_path)
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding='utf-8')
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding='utf-8')


def test_the_documents_agree_with_the_results(capsys):
    status = script.main(['--check'])
    assert status == 0, capsys.readouterr().err


def test_a_changed_figure_is_noticed_and_written_again(copied, capsys):
    whole = (copied / 'docs/performance.md').read_text(encoding='utf-8')
    change(copied / 'docs/performance.md', '| 128.7 | 106.8 |', '| 128.7 | 99.9 |')
    assert script.main(['--check']) == 1 and 'docs/performance.md differs' in capsys.readouterr().err
    assert script.main([]) == 0
    assert (copied / 'docs/performance.md').read_text(encoding='utf-8') == whole


def test_changed_results_are_noticed(copied, capsys):
    path = copied / script.RESULTS / 'table1_demo.json'
    found = json.loads(path.read_text(encoding='utf-8'))
    next(row for row in found['rows'] if row['name'] == 'MUNIT')['figures']['pixel diversity']['mean'] = 1000.0
    path.write_text(json.dumps(found), encoding='utf-8')
    assert script.main(['--check']) == 1
    said = capsys.readouterr().err
    assert 'docs/table1.md differs' in said and "0.03 to 0.15 times MUNIT's pixel diversity" in said
    assert script.main([]) == 1   # the table is written; the sentence is not
    assert '| MUNIT | 0.747 | 0.632 | 0.040 | 70.3 | 1000 |' in (copied / 'docs/table1.md').read_text(encoding='utf-8')


def test_markers_that_are_missing_or_strange_are_one_line(copied, capsys):
    change(copied / 'docs/table1.md', '<!-- table: table 1 -->\n', '')
    assert 'docs/table1.md' in complaint(capsys, script.main, '--check')
    change(copied / 'docs/table1.md', '## Results\n', '## Results\n<!-- table: other -->\n')
    assert 'no table is called other' in complaint(capsys, script.main, '--check')


def test_spread_and_missed_targets_are_shown():
    found = json.loads((ROOT / script.RESULTS / 'table1_demo.json').read_text(encoding='utf-8'))
    found['rows'][0]['figures']['coverage']['deviation'] = 0.0123
    assert '0.316 ± 0.012' in script.table_1(found)[2]
    shirts = json.loads((ROOT / script.RESULTS / 'edges2shirts.json').read_text(encoding='utf-8'))
    good = copy.deepcopy(shirts)
    good['metrics']['content kept, of that of real pairs'] = 0.81
    assert '**0.8: missed**' in script.shirts(good, shirts)[2] and script.shirts(good, good)[2].endswith('| 0.8 |')


def test_quality_has_its_tables_when_it_is_measured():
    rows = [{'recipe': 'demo', 'seed': seed, 'minutes': 5.0, 'iterations': 10, 'kept': 0.9, 'guided': 0.5,
             'diversity': 0.7, 'coverage': 0.4 * seed} for seed in (1, 2)]
    lines = script.quality({'measurements': rows, 'ended': []})
    assert '| demo | 2 | 10 |' in lines[2] and '0.60 (0.40–0.80)' in lines[2]
    assert lines[-1] == '| demo | 5.0 (5.0–5.0) | 5.0 (5.0–5.0) | 5.0 (5.0–5.0) | 5.0 (5.0–5.0) |'
