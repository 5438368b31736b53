"""README and docs: links work, quoted commands and their flags exist, tables match the schemas."""
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob('*.md'), *(ROOT / 'docs').glob('*.md'), *(ROOT / 'datasets').rglob('*.md'),
                ROOT / 'models' / 'README.md', ROOT / 'benchmarks' / 'README.md'])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def commands_of(text: str) -> list[list[str]]:
    """The words of all quoted commands `python FILE.py …` and `bash FILE.sh …`, with continued lines joined."""
    text = re.sub(r'\\\n\s*', ' ', text)
    quoted = re.findall(r'^    (.*)$', text, re.M) + re.findall(r'`([^`\n]+)`', text)
    found = []
    for line in quoted:
        match = re.search(r'(?:^|\s)(?:python|bash|torchrun|sbatch)\s+(?:\S+\s+)*?((?:\S+/)?\w+\.(?:py|sh)\b.*)', line)
        if match:
            found.append(shlex.split(match[1], comments=True))
    return found


@cache
def flags_of(script: str) -> frozenset[str]:
    done = subprocess.run([sys.executable, script, '--help'], cwd=ROOT, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return frozenset(re.findall(r'--[A-Za-z0-9_]+', done.stdout))


@pytest.mark.parametrize('name', NAMES)
def test_relative_links_lead_to_files(name):
    page = ROOT / name
    links = re.findall(r'\]\(([^)#\s]+)(?:#[^)]*)?\)', page.read_text(encoding='utf-8'))
    broken = [link for link in links if '://' not in link and not (page.parent / link).exists()]
    assert not broken


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.slow
def test_quoted_commands_exist_and_know_their_flags(name):
    for script, *words in commands_of((ROOT / name).read_text(encoding='utf-8')):
        if Path(script).name.startswith('my_'):
            continue
        assert (ROOT / script).is_file(), script
        if script.endswith('.py') and not script.startswith('tests/test_'):   # these are passed to pytest
            wrong = {word.split('=')[0] for word in words if word.startswith('--')} - flags_of(script)
            assert not wrong, (script, wrong)


def test_the_readme_is_short():
    assert len((ROOT / 'README.md').read_text(encoding='utf-8').splitlines()) <= 200
    assert len((ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8').splitlines()) <= 80


def test_the_configuration_page_matches_the_schemas():
    done = subprocess.run([sys.executable, 'scripts/write_config_docs.py', '--check'], cwd=ROOT, text=True,
                          capture_output=True)
    assert done.returncode == 0, done.stderr


def test_the_checks_see_commands_and_flags():
    text = 'x `python test.py --a2b 1` y\n\n    python scripts/a.py --x \\\n        --y=3   # comment --z\n'
    assert commands_of(text) == [['scripts/a.py', '--x', '--y=3'], ['test.py', '--a2b', '1']]
    assert '--a2b' in flags_of('test.py') and '--nonsense' not in flags_of('test.py')
