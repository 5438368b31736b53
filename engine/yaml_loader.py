"""Read a YAML file of plain values, with error messages of one line."""
import re
from pathlib import Path
from typing import Any

import yaml

from core.errors import BadInput, shown, why_no_file

MAX_CONFIG_BYTES = 128 * 2 ** 10
MAX_CONFIG_VALUES = 1000
MAX_BRACKETS = 20   # nesting depth; PyYAML's time is quadratic in it
YAML_TAG = 'tag:yaml.org,2002:'
PLAIN_TAGS = ('str', 'int', 'float', 'bool', 'null', 'map', 'seq', 'timestamp', 'merge')


def read_yaml(path: Path, flag: str = '--config') -> dict:
    """Read the plain values of a YAML file. Keys and values are not checked.

    Raises:
        BadInput: the file does not exist or is not a YAML file of plain values. The message names `flag`.
    """
    named = f'{flag} {shown(path)}'
    fault = why_no_file(path)
    if fault:
        raise BadInput(f'{named}: {fault}; give a YAML file, as configs/ has them')
    try:
        with open(path, 'rb') as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
        if len(content) > MAX_CONFIG_BYTES:
            raise BadInput(f'{named}: larger than {MAX_CONFIG_BYTES >> 10} KiB; not a config')
        text = content.decode('utf-8-sig')
        config = yaml.load(text, _PlainLoader)   # a SafeLoader
    except OSError as error:
        raise BadInput(f'{named}: {error.strerror or error}') from None
    except UnicodeDecodeError as error:
        line = content[:error.start].count(b'\n') + 1
        raise BadInput(f'{named}: not a YAML file: line {line}: not UTF-8; save it with that encoding') from None
    except RecursionError:
        raise BadInput(f'{named}: not a YAML file: nested too deeply') from None
    except yaml.reader.ReaderError as error:
        line = text[:error.position].count('\n') + 1
        raise BadInput(f'{named}: not a YAML file: line {line}: holds the character U+{error.character:04X}') from None
    except yaml.MarkedYAMLError as error:
        mark, problem = _explain(error)
        place = f'line {mark.line + 1}: ' if mark else ''
        raise BadInput(f'{named}: not a YAML file of plain values: {place}{shown(problem, 200)}') from None
    except (yaml.YAMLError, ValueError) as error:
        raise BadInput(f'{named}: not a YAML file: {shown(" ".join(str(error).split()), 200)}') from None
    if not isinstance(config, dict):
        raise BadInput(f'{named}: holds no "key: value" lines; give a YAML file, as configs/ has them')
    return config


def _explain(error: yaml.MarkedYAMLError) -> tuple[yaml.Mark | None, str]:
    """Return the position and description of a YAML error, with advice for the most frequent errors."""
    mark, problem = error.problem_mark or error.context_mark, str(error.problem or error.context)
    if problem == "could not find expected ':'":   # PyYAML reports the following line
        return error.context_mark or mark, f'{problem} and a space behind it'
    hints = {"found character '\\t'": 'a tab; YAML takes spaces only', 'found unknown escape':
             'write paths of Windows with / or in single quotes'}
    return mark, problem + ''.join(f' ({hint})' for start, hint in hints.items() if problem.startswith(start))


class _PlainLoader(yaml.SafeLoader):
    """Loads text, numbers, booleans, lists and sections only. Rejects duplicate keys, tags and very large documents."""

    def get_single_node(self) -> yaml.Node | None:
        """Return the document after checking its nodes, before objects are constructed."""
        root = super().get_single_node()
        pending, seen = [root] if root else [], 0
        while pending:   # every use of an alias counts: nine lines of nine aliases are a billion values
            node, seen = pending.pop(), seen + 1
            if seen > MAX_CONFIG_VALUES:
                raise self._fault(node, f'more than {MAX_CONFIG_VALUES} values, aliases (*name) counted each time')
            if node.tag.removeprefix(YAML_TAG) not in PLAIN_TAGS:
                raise self._fault(node, f'the tag {node.tag.replace(YAML_TAG, "!!", 1)}')
            if isinstance(node, yaml.ScalarNode):
                self._check_scalar(node)
            elif isinstance(node, yaml.MappingNode):
                self._check_keys(node)
                pending += [child for pair in node.value for child in pair]
            else:
                pending += node.value
        return root

    def fetch_flow_collection_start(self, TokenClass: type) -> None:
        if self.flow_level >= MAX_BRACKETS:
            raise yaml.MarkedYAMLError(problem=f'more than {MAX_BRACKETS} brackets within each other',
                                       problem_mark=self.get_mark())
        super().fetch_flow_collection_start(TokenClass)

    def _check_scalar(self, node: yaml.ScalarNode) -> None:
        if node.tag in (f'{YAML_TAG}int', f'{YAML_TAG}float'):
            if len(node.value) > 100:
                raise self._fault(node, f'a number of {len(node.value)} digits')
            if ':' in node.value:   # 1:30 is 90 in YAML 1.1
                raise self._fault(node, f'{node.value} would be read as a number to the base 60; write it in quotes, '
                                        f'or as a decimal number')

            if node.tag.endswith(':int') and re.fullmatch(r'[-+]?0[0-7_]+', node.value):   # 032 is 26 in YAML 1.1
                raise self._fault(node, f'{node.value} would be read as a number to the base 8; leave out the zero in '
                                        f'front')

    def _check_keys(self, node: yaml.MappingNode) -> None:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag not in (f'{YAML_TAG}str', f'{YAML_TAG}merge') or not isinstance(key, yaml.ScalarNode):
                raise self._fault(key, 'a key that is not text')
            line = key.start_mark.line + 1
            if key.value in lines:
                raise self._fault(key, f'{key.value} stands in line {lines[key.value]} already')
            lines[key.value] = line

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, LookupError, TypeError, ValueError):   # for example !!int "" and !!bool maybe
            raise self._fault(node, f'not a value of the tag {node.tag.replace(YAML_TAG, "!!", 1)}') from None

    @staticmethod
    def _fault(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
        return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


_PlainLoader.add_constructor(f'{YAML_TAG}timestamp', _PlainLoader.construct_yaml_str)   # dates are text
