"""Small tools around autograd: which networks learn, and a backward pass in pieces."""
from collections.abc import Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def frozen(*networks: nn.Module):
    """Let gradients pass through these networks without accumulating in their parameters."""
    parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


@contextmanager
def eval_mode(*networks: nn.Module):
    """Temporarily switch the networks to eval mode; in training mode every forward pass advances spectral norm by one
    power iteration.
    """
    training = [network.training for network in networks]
    for network in networks:
        network.eval()
    try:
        yield networks
    finally:
        for network, before in zip(networks, training, strict=True):
            network.train(before)


def detach_leaves(codes: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The same codes as leaves, at which a backward pass ends; `backward_from_leaves` continues it from there."""
    return tuple(code.detach().requires_grad_() for code in codes)


def backward_from_leaves(codes: tuple[Tensor, ...], leaves: tuple[Tensor, ...], parameters: Sequence[Tensor]) -> None:
    """Continue the backward pass from the codes, with the gradients that their leaves have accumulated. The gradients
    of the parameters are added to those that they have in one kernel, not in one for each parameter.
    """
    reached = [(code, leaf.grad) for code, leaf in zip(codes, leaves, strict=True) if leaf.grad is not None]
    found = torch.autograd.grad([code for code, _ in reached], parameters, [gradient for _, gradient in reached],
                                allow_unused=True)
    both = []
    for p, gradient in zip(parameters, found, strict=True):
        if p.grad is None:
            p.grad = gradient
        elif gradient is not None:
            both.append((p.grad, gradient))
    if both:
        totals, addends = zip(*both, strict=True)
        torch._foreach_add_(totals, addends)
