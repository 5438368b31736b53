"""Entry points of torch.hub.

    model = torch.hub.load('path/to/this/folder', 'munit', pretrained='demo_edges2shoes', source='local')
    picture = model.translate('outline.png', style='shoe.jpg')

`engine.python_api` describes the objects, and docs/python.md shows what to do with them.

torch.hub puts this folder on `sys.path` while an entry point runs, and removes it afterwards. Modules with names such
as `utils` and `data` would then be mistaken for those of the caller, and the other way round. Therefore the project is
imported as one package, `munit_hub`: its own imports are renamed when a module is compiled (`from data import …`
becomes `from munit_hub.data import …`), at the top of a file as well as inside functions. The caller's modules are
never touched.
"""
import ast
import contextlib
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path

dependencies = ['torch', 'numpy', 'PIL', 'yaml']   # torch.hub checks that they are installed

ROOT = Path(__file__).resolve().parent
OWN = ('core', 'engine', 'extras', 'networks', 'data', 'utils', 'trainer')


# ---------------------------------------------------------------------------------------------------------------------
# Entry points
# ---------------------------------------------------------------------------------------------------------------------

def munit(pretrained: str, **options):
    """A trained MUNIT: an object with `translate`, `encode`, `decode` and `sample_styles`.

    Args:
        pretrained: a model of the folder models/, such as 'demo_edges2shoes'; or the path or https address of a
            gen_XXXXXXXX.pt, together with `config`.
        config: path of a YAML file, or a dict; by default the file in configs/ with the model's name.
        a2b: from domain A to B (the default), else from B to A.
        device: auto (the default), cpu, cuda, cuda:N or mps.
        precision: fp32 (the default), tf32 or bf16.
        progress: show the progress of a download.

    Returns:
        `engine.python_api.ImageTranslator`.
    """
    return _api().munit(pretrained, **options)


def unit(pretrained: str, **options):
    """A trained UNIT: as `munit`, but an image has one translation.

    Args:
        pretrained, config, a2b, device, precision, progress: as for `munit`.
        encoder_noise: let outputs differ by the noise of the encoder; `n` and `seed` then select it.
    """
    return _api().unit(pretrained, **options)


def trainer(config: str = 'edges2shoes_folder', **options):
    """A trainer: two generators, two discriminators and their optimizers, with `update(x_a, x_b)` for an iteration.

    Args:
        config: a name in configs/, the path of a YAML file, or a dict.
        method: MUNIT (the default), UNIT, CycleGAN, CycleGANNoise or BicycleGAN.
        pretrained: a model whose weights to start from, as for `munit`; by default it starts from new ones.
        device: cpu by default.
        Other keywords replace keys of the config: `lr=0.0002`.
    """
    return _api().trainer(config, **options)


def munit_generator(pretrained: str, **options):
    """One direction of a trained MUNIT as a differentiable `nn.Module`: `forward(images, style)`.

    Args:
        pretrained, config, a2b, progress: as for `munit`.
        trainable: whether its weights require gradients; False by default.
        device: cpu by default.
    """
    return _api().munit_generator(pretrained, **options)


# ---------------------------------------------------------------------------------------------------------------------
# The project as one package
# ---------------------------------------------------------------------------------------------------------------------

class _RenamedImports(ast.NodeTransformer):
    """Lets imports of the project's modules find them inside `package`."""

    def __init__(self, package: str):
        self.package = package

    def _is_own(self, name: str | None) -> bool:
        return name is not None and name.split('.')[0] in OWN

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        if node.level == 0 and self._is_own(node.module):
            node.module = f'{self.package}.{node.module}'
        return node

    def visit_Import(self, node: ast.Import) -> ast.AST | list[ast.AST]:
        nodes = []
        for alias in node.names:
            if not self._is_own(alias.name):
                nodes.append(ast.Import([alias]))
                continue
            top = alias.name.split('.')[0]
            renamed = ast.alias(f'{self.package}.{alias.name}', alias.asname or (top if top == alias.name else '_'))
            nodes.append(ast.Import([renamed]))
            if not alias.asname and top != alias.name:   # `import core.errors` binds the name `core`
                nodes.append(ast.Import([ast.alias(f'{self.package}.{top}', top)]))
        return [ast.fix_missing_locations(ast.copy_location(each, node)) for each in nodes]


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles a file of the project with renamed imports. The result is not cached on the disk, where the commands
    keep that of the same file with its own imports.
    """

    def get_code(self, fullname: str) -> types.CodeType:
        path = self.get_filename(fullname)
        tree = _RenamedImports(fullname.split('.')[0]).visit(ast.parse(self.get_data(path), path))
        return compile(tree, path, 'exec', dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds `package`.x.y as x/y.py below the root, and nothing else."""

    def __init__(self, package: str, root: Path):
        self.package, self.root = package, root

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
                  ) -> importlib.machinery.ModuleSpec | None:
        package, *parts = fullname.split('.')
        if package != self.package or not parts or parts[0] not in OWN:
            return None
        place = self.root.joinpath(*parts)
        is_package = place.is_dir()
        file = place / '__init__.py' if is_package else place.with_suffix('.py')
        if not file.is_file():
            return None
        return importlib.util.spec_from_file_location(fullname, file, loader=_Loader(fullname, str(file)),
                                                      submodule_search_locations=[str(place)] if is_package else None)


def _api() -> types.ModuleType:
    """`engine.python_api` of this folder, imported the first time."""
    package = 'munit_hub'
    if package in sys.modules and sys.modules[package].__path__ != [str(ROOT)]:   # another copy of the project
        package += '_' + hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
    if package not in sys.modules:
        module = types.ModuleType(package, 'The project, as torch.hub loaded it.')
        module.__path__ = [str(ROOT)]
        sys.modules[package] = module
        sys.meta_path.insert(0, _Finder(package, ROOT))
    known = f'{package}.engine.methods' in sys.modules
    with _settings_of_pillow_kept():
        api = importlib.import_module(f'{package}.engine.python_api')
    if not known:   # the classes of a method are named by text
        methods = importlib.import_module(f'{package}.engine.methods').METHODS
        for name, method in methods.items():
            places = {field: f'{package}.{getattr(method, field)}' for field in ('trainer', 'translator', 'schema')}
            methods[name] = method._replace(**places)
    return api


@contextlib.contextmanager
def _settings_of_pillow_kept() -> Iterator[None]:
    """The commands raise Pillow's bound on image sizes, as they have their own; the caller's process keeps it."""
    from PIL import Image  # here, so that torch.hub can say that it is missing

    logger = logging.getLogger('PIL')
    bound, handlers = Image.MAX_IMAGE_PIXELS, list(logger.handlers)
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS, logger.handlers = bound, handlers
