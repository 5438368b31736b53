"""The methods that --trainer selects, and what commands need to know about them before their modules are imported.

To add a method, add an entry here. Its trainer has the interface of `trainer.Trainer`, its translator that of
`engine.translator.Translator`, and its schema describes its configs. It may share any of the three with another method.
"""
import importlib
from typing import Any, NamedTuple


class Method(NamedTuple):
    """A translation method: the import paths of its classes, and what it supports."""
    trainer: str                 # module and class, imported on demand
    translator: str
    schema: str                  # an `engine.config_keys.Schema`, which checks its configs
    guided: bool = False         # whether an example image gives a style
    autoencodes: bool = False    # whether images are encoded, and decoded within their own domain
    both_ways: bool = True       # whether it translates in both directions, or only from A to B
    paired: bool = False         # whether it learns from pairs, which have the same file names in A and B
    several: bool = False        # whether it supports distributed training


METHODS = {
    'MUNIT': Method('trainer.MUNIT_Trainer', 'engine.translator.Translator', 'engine.config_keys.MUNIT',
                    guided=True, autoencodes=True, several=True),
    'UNIT': Method('trainer.UNIT_Trainer', 'engine.translator.Translator', 'engine.config_keys.UNIT',
                   autoencodes=True, several=True),
    'CycleGAN': Method('extras.baselines.trainers.CycleGAN_Trainer',
                       'extras.baselines.translators.CycleGAN_Translator', 'extras.baselines.schemas.CYCLEGAN'),
    'CycleGANNoise': Method('extras.baselines.trainers.CycleGANNoise_Trainer',
                            'extras.baselines.translators.CycleGANNoise_Translator',
                            'extras.baselines.schemas.CYCLEGAN_NOISE'),
    'BicycleGAN': Method('extras.baselines.trainers.BicycleGAN_Trainer',
                         'extras.baselines.translators.BicycleGAN_Translator', 'extras.baselines.schemas.BICYCLEGAN',
                         guided=True, both_ways=False, paired=True),
}


def trainer_class(name: str) -> Any:
    """The class that trains the method."""
    return _loaded(METHODS[name].trainer)


def translator_class(name: str) -> Any:
    """The class that translates with the method's checkpoints."""
    return _loaded(METHODS[name].translator)


def schema_of(name: str) -> Any:
    """The `engine.config_keys.Schema` that checks configs of the method."""
    return _loaded(METHODS[name].schema)


def _loaded(place: str) -> Any:
    module, name = place.rsplit('.', 1)
    return getattr(importlib.import_module(module), name)
