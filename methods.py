"""The methods that --trainer names: what the commands must know of each before anything of it is loaded.

A method of one's own is an entry here. Its trainer has the interface of `trainer.Trainer`, its translator that of
`translate.Translator`; its config is checked by an entry of `config.SCHEMAS`, one that is there or a new one.
"""
import importlib
from typing import Any, NamedTuple


class Method(NamedTuple):
    """A way to translate: where its classes are, and what of it there is to ask for."""
    trainer: str                 # module and class, loaded when they are needed
    translator: str
    schema: str                  # the entry of config.SCHEMAS that checks its configs
    guided: bool = False         # whether an example image gives a style
    autoencodes: bool = False    # whether images are encoded, and decoded within their own domain
    both_ways: bool = True       # or from A to B alone
    paired: bool = False         # whether it learns from pairs: the same file names in A and B
    several: bool = False        # whether several processes can train it together


METHODS = {
    'MUNIT': Method('trainer.MUNIT_Trainer', 'translate.Translator', 'MUNIT',
                    guided=True, autoencodes=True, several=True),
    'UNIT': Method('trainer.UNIT_Trainer', 'translate.Translator', 'UNIT', autoencodes=True, several=True),
    'CycleGAN': Method('baseline_trainers.CycleGAN_Trainer', 'baseline_translate.CycleGAN_Translator', 'CycleGAN'),
    'CycleGANNoise': Method('baseline_trainers.CycleGANNoise_Trainer',
                            'baseline_translate.CycleGANNoise_Translator', 'CycleGANNoise'),
    'BicycleGAN': Method('baseline_trainers.BicycleGAN_Trainer', 'baseline_translate.BicycleGAN_Translator',
                         'BicycleGAN', guided=True, both_ways=False, paired=True),
}


def trainer_class(name: str) -> Any:
    """The class that trains the method."""
    return _loaded(METHODS[name].trainer)


def translator_class(name: str) -> Any:
    """The class that translates with the method's checkpoints."""
    return _loaded(METHODS[name].translator)


def _loaded(place: str) -> Any:
    module, name = place.rsplit('.', 1)
    return getattr(importlib.import_module(module), name)
