"""One iteration as a CUDA graph, which is captured once and then replayed as a whole.

An iteration of the standard config launches more than two thousand kernels. At batch size 1, the GPU computes them
faster than Python and the driver can launch them, and a graph needs a single launch. The graph contains everything that
`Trainer.update` does: both updates, gradient clipping, both Adam steps, the averaged weights and the counters.
"""
from typing import Any

import torch
from torch import Tensor

from core.noise import Noise, NoiseTape
from trainer import Trainer

WARM_UP = 3   # iterations before the capture, in which optimizers create their state and cuDNN chooses its kernels


class GraphedUpdate:
    """Replaces `trainer.update` on a CUDA device and computes the same iterations.

    The first `WARM_UP` iterations run without a graph, then the graph is captured. It is captured again when the size
    of the images changes, or when `trainer.resume` has replaced tensors that it uses. Iterations with a gradient
    penalty (`dis.r1_w`), one in sixteen, run without the graph.

    Args:
        trainer: on a CUDA device, with `fused: true` in its config. Its learning rates become tensors, which the graph
            reads at every replay.
    """

    def __init__(self, trainer: Trainer):
        self.trainer, self.update = trainer, trainer.update
        self.graph: Any = None
        self.warm = 0
        self.shapes: list[torch.Size] = []
        self.moments: list[Tensor | None] = []

    def __call__(self, x_a: Tensor, x_b: Tensor) -> dict[str, Tensor]:
        """One iteration on images (N, C, H, W) in [-1, 1]. Returns the loss terms of both updates."""
        if self._outdated(x_a, x_b):
            self.graph, self.warm, self.shapes = None, 0, [x_a.shape, x_b.shape]
        if self.trainer.penalty_is_due:
            return self.update(x_a, x_b)
        if self.warm < WARM_UP:
            return self._warm_up(x_a, x_b)
        if self.graph is None:
            self._record(x_a, x_b)
        self.x_a.copy_(x_a, non_blocking=True)
        self.x_b.copy_(x_b, non_blocking=True)
        self.tape.refill()
        self.graph.replay()
        return dict(zip(self.names, self.losses.clone().unbind(), strict=True))   # the next replay overwrites them

    def _outdated(self, x_a: Tensor, x_b: Tensor) -> bool:
        return self.shapes != [x_a.shape, x_b.shape] or any(
            now is not then for now, then in zip(self._moments(), self.moments, strict=False))

    def _moments(self) -> list[Tensor | None]:
        """One tensor of each optimizer's state; `resume` replaces these tensors."""
        optimizers = self.trainer._optimizers().values()
        return [optimizer.state.get(optimizer.param_groups[0]['params'][0], {}).get('exp_avg')
                for optimizer in optimizers]

    def _warm_up(self, x_a: Tensor, x_b: Tensor) -> dict[str, Tensor]:
        for optimizer in self.trainer._optimizers().values():
            for group in optimizer.param_groups:
                rate = torch.as_tensor(group['lr'], dtype=torch.float32)
                group.update(capturable=False, lr=rate.to(self.trainer.device))
        self.tape = NoiseTape()   # only that of the last warm-up iteration is used
        self.trainer.noise = self.tape
        stream = torch.cuda.Stream()   # a capture runs on a side stream, which has its own memory
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            losses = self.update(x_a, x_b)
        torch.cuda.current_stream().wait_stream(stream)
        self.trainer.noise = Noise()
        self.warm += 1
        self.moments = self._moments()
        return losses

    def _record(self, x_a: Tensor, x_b: Tensor) -> None:
        self.x_a, self.x_b = x_a.clone(), x_b.clone()
        self.tape.sealed = True
        self.trainer.noise = self.tape
        for optimizer in self.trainer._optimizers().values():
            for group in optimizer.param_groups:
                group['capturable'] = True
        self.graph = torch.cuda.CUDAGraph()
        try:
            # Other threads, such as the one that pins batches, may call the driver meanwhile.
            with torch.cuda.graph(self.graph, capture_error_mode='thread_local'):
                losses = self.update(self.x_a, self.x_b)
                self.names, self.losses = list(losses), torch.stack([loss.float() for loss in losses.values()])
        finally:
            self.trainer.noise = Noise()
