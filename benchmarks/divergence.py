"""Replay a part of a run and print gradient norms by network and layer, and the scores of the discriminators.

    OMP_NUM_THREADS=1 python benchmarks/divergence.py --from_step 4908 --to_step 4918 \\
        --config CONFIG --seed 1 --precision bf16 --resume --max_iter 4920 --output_path FOLDER

All flags except the first two are passed to train.py. For each step from --from_step to --to_step, the script prints
the gradient norm of each network, the three layers with the largest norms, for each discriminator and scale the range
of its scores on translated and on real images, and the ratio of the discriminators' largest Adam step to the learning
rate (the largest |m| / (sqrt(v) + eps) without bias correction; usually about 1).
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

import train
import trainer as trainer_module
from engine.cli import run_command


def norm_of(tensors: list[torch.Tensor]) -> float:
    """The total norm of gradients."""
    return float(torch.stack(torch._foreach_norm(tensors)).norm()) if tensors else 0.0


class Probe:
    """Prints the gradients and scores of the steps from `first` to `last` without affecting them."""

    def __init__(self, first: int, last: int):
        self.first, self.last, self.scores = first, last, {}

    def install(self) -> None:
        original_step, original_judge = trainer_module.Trainer._step, trainer_module.judge_together

        def step(trainer: trainer_module.Trainer, of: str):
            if self.first <= trainer.iteration <= self.last:
                self.report(trainer, of)
            result = original_step(trainer, of)
            if of == 'dis' and self.first <= trainer.iteration <= self.last:
                print(f'    largest step of Adam: {self.largest_step(trainer):.1f} times the learning rate')
            return result

        def judge(dis, fake, real):
            found = original_judge(dis, fake, real)
            self.scores[id(dis)] = [[float(f(score.detach().float())) for f in (torch.min, torch.max)]
                                    for kind in found for score in kind]
            return found

        trainer_module.Trainer._step, trainer_module.judge_together = step, judge

    def report(self, trainer: trainer_module.Trainer, of: str) -> None:
        parts = trainer._parts()[of]
        norms = {name: norm_of([p.grad for p in part.parameters() if p.grad is not None])
                 for name, part in parts.items()}
        print(f'step {trainer.iteration} {of}: ' + ', '.join(f'{of}_{name} {norm:.1f}' for name, norm in norms.items()))
        layers = sorted(((norm_of([p.grad]), f'{of}_{name}.{key}') for name, part in parts.items()
                         for key, p in part.named_parameters() if p.grad is not None), reverse=True)[:3]
        print('    layers: ' + ', '.join(f'{key} {norm:.1f}' for norm, key in layers))
        if of == 'dis':
            for name, dis in parts.items():
                ranges = self.scores.get(id(dis), [])
                half = len(ranges) // 2
                for kind, found in (('translated', ranges[:half]), ('real', ranges[half:])):
                    print(f'    scores of dis_{name} on {kind}: '
                          + '  '.join(f'scale {i} [{low:.2f}, {high:.2f}]' for i, (low, high) in enumerate(found)))

    @staticmethod
    def largest_step(trainer: trainer_module.Trainer) -> float:
        return max(float((state['exp_avg'].abs() / (state['exp_avg_sq'].sqrt() + 1e-8)).max())
                   for state in trainer.dis_opt.state.values())


def main() -> int:
    parser = argparse.ArgumentParser(
        description='Replay a part of a run and print its gradient norms and discriminator scores.',
        epilog='All other flags are those of train.py, such as --config --seed --precision --resume --max_iter '
               '--output_path.')
    parser.add_argument('--from_step', type=int, required=True, help='first iteration to print')
    parser.add_argument('--to_step', type=int, required=True, help='last iteration to print')
    opts, rest = parser.parse_known_args()
    Probe(opts.from_step, opts.to_step).install()
    return train.main(rest)


if __name__ == '__main__':
    run_command(main)
