"""The layout: imports go one way through the layers, and the docs show the same layers."""
import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = (('core',), ('networks', 'data', 'utils'), ('engine', 'trainer'), ('extras',),
          ('train', 'test', 'test_batch', 'evaluate', 'demo', 'video', 'scripts'))
WITHOUT_EXTRAS = ('train', 'test', 'test_batch')


def modules() -> dict[str, Path]:
    paths = [*ROOT.glob('*.py'), *(path for floor in ('core', 'engine', 'extras', 'scripts')
                                   for path in (ROOT / floor).rglob('*.py'))]
    return {'.'.join(path.relative_to(ROOT).with_suffix('').parts): path for path in paths}


def imports_of(path: Path, known: dict[str, Path], at_start: bool = False) -> set[str]:
    """The project's modules that a file imports; with `at_start`, without imports inside functions."""
    tree = ast.parse(path.read_text())
    inner = {id(node) for function in ast.walk(tree) if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
             for node in ast.walk(function)} if at_start else set()
    found = set()
    for node in ast.walk(tree):
        if id(node) in inner:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {name if (name := f'{node.module}.{alias.name}') in known else str(node.module)
                      for alias in node.names}
    return {name if name in known else f"scripts.{name}"
            for name in found if name in known or f"scripts.{name}" in known}


def floor_of(module: str) -> int:
    return next(i for i, floor in enumerate(FLOORS) if module.split('.')[0] in floor)


def test_no_module_imports_one_of_a_higher_floor():
    known = modules()
    upward = [f'{module} imports {other}' for module, path in known.items() for other in imports_of(path, known)
              if floor_of(other) > floor_of(module)]
    assert not upward


def test_no_module_imports_itself_by_a_detour():
    known = modules()
    graph = {module: imports_of(path, known) for module, path in known.items()}
    done, path = set(), []

    def visit(module: str) -> None:
        assert module not in path, ' -> '.join([*path[path.index(module):], module])
        if module not in done:
            path.append(module)
            for other in sorted(graph[module]):
                visit(other)
            path.pop()
            done.add(module)

    for module in graph:
        visit(module)


@pytest.mark.parametrize('command', WITHOUT_EXTRAS)
def test_the_original_commands_start_without_the_extras(command):
    known = modules()
    reached, pending = set(), [command]
    while pending:
        module = pending.pop()
        if module not in reached:
            reached.add(module)
            pending += imports_of(known[module], known, at_start=True)
    assert not [module for module in reached if module.startswith('extras')]


def test_the_checks_see_what_they_look_for(tmp_path):
    file = tmp_path / 'one.py'
    file.write_text('import core.errors\nfrom engine import config\n\n\ndef f():\n    from extras import video\n')
    known = modules() | {'extras.video': file}
    assert imports_of(file, known) == {'core.errors', 'engine.config', 'extras.video'}
    assert imports_of(file, known, at_start=True) == {'core.errors', 'engine.config'}


def test_the_root_has_few_files():
    visible = [path.name for path in ROOT.iterdir() if path.is_file() and not path.name.startswith('.')]
    assert len(visible) <= 20, visible


def test_functions_are_short():
    long = []
    for name, path in modules().items():
        if name.startswith('extras.drawn_data'):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno - node.lineno + 1 > 60:
                long.append(f'{name}.{node.name}: {node.end_lineno - node.lineno + 1} lines')
    assert not long
