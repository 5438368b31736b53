"""The notebook: its cells run, its outputs are small and complete, and its first cell installs what is missing."""
import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / 'notebooks' / 'munit.ipynb'
PARAMETER = 'ITERATIONS = 400'


def code_cells() -> list[dict]:
    return [cell for cell in json.loads(NOTEBOOK.read_text(encoding='utf-8'))['cells'] if cell['cell_type'] == 'code']


def test_its_outputs_are_small_and_of_one_run():
    cells = code_cells()
    assert NOTEBOOK.stat().st_size < 1_000_000
    assert [cell['execution_count'] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell['outputs']]
    assert not [output for output in outputs if output['output_type'] == 'error' or output.get('name') == 'stderr']
    assert sum('image/jpeg' in output.get('data', {}) or 'image/png' in output.get('data', {})
               for output in outputs) >= 12
    assert str(Path.home()) not in NOTEBOOK.read_text(encoding='utf-8')


def test_it_opens_in_colab_and_installs_what_it_needs(tmp_path, monkeypatch):
    assert 'colab.research.google.com' in NOTEBOOK.read_text(encoding='utf-8')
    first, calls = ''.join(code_cells()[0]['source']), []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, 'run', lambda command, check: calls.append(command))
    found = {}
    exec(first, found)
    clone, install = calls
    assert found['repo'] == clone[-1] == 'munit' and clone[:2] == ['git', 'clone']
    assert (ROOT / Path(install[-1]).relative_to('munit')).is_file()

    calls.clear()
    monkeypatch.chdir(NOTEBOOK.parent)
    exec(first, found)
    assert found['repo'] == '..' and not calls


@pytest.mark.slow
def test_all_of_its_cells_run():
    """With fewer iterations and without a check of the losses."""
    nbclient, nbformat = pytest.importorskip('nbclient'), pytest.importorskip('nbformat')
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert sum(PARAMETER in cell.source for cell in notebook.cells) == 1
    for cell in notebook.cells:
        cell.source = cell.source.replace(PARAMETER, 'ITERATIONS = 10')
    nbclient.NotebookClient(notebook, timeout=300, kernel_name='python3',
                            resources={'metadata': {'path': str(NOTEBOOK.parent)}}).execute()
