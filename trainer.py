"""The method (paper, section 3): the losses, and the two updates of an iteration.

    x_a --gen_a.encode--> c_a, s_a'        x_ab = gen_b.decode(c_a, s_b)   with s_b ~ N(0, 1)
    x_b --gen_b.encode--> c_b, s_b'        x_ba = gen_a.decode(c_b, s_a)   with s_a ~ N(0, 1)

`dis_update` and `gen_update` state one iteration each for the discriminators and the generators; `update` does both
and encodes the images once for the two, since the generators do not change between them.
"""
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core import snapshots
from core.augmentation import AUGMENT_PARAMS, augment
from core.autograd_utils import backward_from_leaves, detach_leaves, eval_mode, frozen
from core.checkpoints import NotFiniteFile, find_vgg_weights, load_vgg_weights, read_networks
from core.corruptions import NOISE_PARAMS, add_sketch_noise
from core.distributed import average_gradients, share_of, world_size
from core.ema import EMA, StyleStatistics
from core.errors import BadInput
from core.gradient_clip import GradientClip
from core.noise import Noise
from core.precision import in_precision, without_autocast
from core.run_state import MOMENTS
from core.undo import Undo
from engine.config_keys import MUNIT, UNIT, Schema, with_defaults
from engine.divergence import DivergenceWatch
from networks import AdaINGen, MsImageDis, VAEGen, Vgg16, checkpoint_activations, init_weights

# ---------------------------------------------------------------------------------------------------------------------
# Losses
# ---------------------------------------------------------------------------------------------------------------------

def reconstruction_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference (paper, equations 1 to 3, for images, contents and styles)."""
    return F.l1_loss(found.float(), wanted.float())


def kl_loss(hiddens: Tensor) -> Tensor:
    """Distance of a posterior N(hiddens, 1) from N(0, 1), up to factor and constant."""
    return hiddens.float().square().mean()


def adversarial_loss(scores: list[Tensor], real: bool, gan_type: str, of_generator: bool = False) -> Tensor:
    """Adversarial loss of scores, one map per scale, against the target real (or fake), summed over the scales.

    `lsgan`: mean squared distance from 1 (or 0); `nsgan`: binary cross-entropy on logits; `hinge`: the margin
    to 1 (or -1), and for a generator the negative score itself (Lim and Ye, 2017).
    """
    target = 1.0 if real else 0.0
    scores = [score.float() for score in scores]
    if gan_type == 'hinge':
        sign = 1 if real else -1
        losses = [-score.mean() if of_generator else F.relu(1 - sign * score).mean() for score in scores]
    elif gan_type == 'lsgan':
        wanted = scores[0].new_full((), target)
        losses = [F.mse_loss(score, wanted.expand_as(score)) for score in scores]
    else:
        losses = [F.binary_cross_entropy_with_logits(score, torch.full_like(score, target)) for score in scores]
    return sum(losses[1:], losses[0])


def gradient_penalty(dis: MsImageDis, real: Tensor) -> Tensor:
    """R1 (Mescheder et al., 2018), for a discriminator that scores patches: the mean over images (N, C, H, W) of the
    squared norm of the gradient of a patch's score, where all scales' scores are added.

    One backward pass covers all patches: the sum of a scale's P scores is divided by √P, so that patches that do not
    overlap contribute the mean of their squared norms.
    """
    with without_autocast(real.device):
        real = real.detach().float().requires_grad_()
        total = sum(score.sum() / score[0].numel() ** 0.5 for score in dis(real))
        gradient, = torch.autograd.grad(total, real, create_graph=True)
        return gradient.square().sum((1, 2, 3)).mean()


def perceptual_loss(vgg: Vgg16, images: Tensor, target: Tensor) -> Tensor:
    """Domain-invariant perceptual loss (paper, section 5.1): instance norm takes the style out of the VGG features."""
    return F.mse_loss(F.instance_norm(vgg(images).float()), F.instance_norm(vgg(target).float()))


def learning_rate(config: dict, iteration: int, of: str = 'gen') -> float:
    """The learning rate of an iteration, counted from 0. As in the original, the schedule steps before the update.

    Args:
        of: 'gen', or 'dis' for the discriminators, whose rate `dis_lr` may set.
    """
    rate = config.get('dis_lr', config['lr']) if of == 'dis' else config['lr']
    policy = config['lr_policy']
    if policy == 'constant':
        return rate
    if policy == 'linear':   # the baselines: constant, then linear, reaching 0 one step past the end
        start, end = config['decay_start'], config['decay_end']
        return rate * max(0.0, 1 - max(0, iteration + 1 - start) / (end - start + 1))
    return rate * config['gamma'] ** ((iteration + 1) // config['step_size'])


def decode_together(gen: Any, *codes: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """`gen.decode` of each of the codes, in one batch: no norm in a generator mixes the images of a batch."""
    if any(code[0].shape != codes[0][0].shape for code in codes):   # A and B of different sizes
        return tuple(gen.decode(*code) for code in codes)
    return gen.decode(*(torch.cat(parts) for parts in zip(*codes, strict=True))).chunk(len(codes))


def judge_together(dis: MsImageDis, fake: Tensor, real: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Scores of fake and of real images, in one batch where the discriminator's norm does not mix images."""
    if not dis.judges_images_apart or fake.shape != real.shape:
        # The fake images first, as in the original: spectral norm and batch norm depend on the order.
        return dis(fake), dis(real)
    pairs = [scores.chunk(2) for scores in dis(torch.cat([fake, real]))]
    return [fake for fake, _ in pairs], [real for _, real in pairs]


def _parameters_of(optimizer: torch.optim.Adam) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group['params']]


def _moments_of(optimizer: torch.optim.Adam) -> list[Tensor]:
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]


# ---------------------------------------------------------------------------------------------------------------------
# What both methods share
# ---------------------------------------------------------------------------------------------------------------------

class Trainer(nn.Module):
    """Two generators, two discriminators, their optimizers and schedule.

    Args:
        config: as `config.load_config` returns it, or an equal dict.

    Raises:
        ValueError: a choice in the config that there is not.
        BadInput: `vgg_weights` names a file that is not VGG-16.
    """

    Generator: type[nn.Module]
    schema: Schema            # of the configs; gives the defaults of keys that a config leaves out
    rows_of_sample: tuple[str, ...]   # what the images of `sample` are

    # Networks and steps differ from method to method; each trainer says what its own take and return.
    gen_a: Any
    gen_b: Any
    dis_a: Any
    dis_b: Any
    encode: Callable[..., Any]
    dis_update: Callable[..., dict[str, Tensor]]
    gen_update: Callable[..., dict[str, Tensor]]
    gen_losses: Callable[..., tuple[dict[str, Tensor], Tensor]]
    sample: Callable[..., tuple[Tensor, ...]]

    ema: EMA | None
    bad_steps: Tensor
    bad_in_a_row: Tensor
    _bad: Tensor
    clips: Any   # nn.ModuleDict of `GradientClip`, 'gen' and 'dis'
    steps_first = 'dis'   # of the two optimizers, in an iteration

    def __init__(self, config: dict):
        super().__init__()
        config = self._begin(config)
        if config['dis']['gan_type'] not in ('lsgan', 'nsgan', 'hinge'):
            raise ValueError(f'dis.gan_type: {config["dis"]["gan_type"]!r} is not one of lsgan, nsgan, hinge')
        if config['lr_policy'] not in ('step', 'constant'):
            raise ValueError(f'lr_policy: {config["lr_policy"]!r} is not one of step, constant')
        self.gen_a = self.Generator(config['input_dim_a'], config['gen'])
        self.gen_b = self.Generator(config['input_dim_b'], config['gen'])
        self.dis_a = MsImageDis(config['input_dim_a'], config['dis'])
        self.dis_b = MsImageDis(config['input_dim_b'], config['dis'])
        self._draw_display_styles()
        self.gen_opt = self._adam('gen', self.gen_a, self.gen_b)
        self.dis_opt = self._adam('dis', self.dis_a, self.dis_b)

        self.apply(init_weights(config['init']))
        for dis in self.dises.values():
            dis.apply(init_weights(config['dis']['init']))
        if config['checkpoint_activations']:
            checkpoint_activations(self.gen_a, self.gen_b)
        if decay := config['ema_decay']:
            self.ema = EMA(self.gen_a, self.gen_b, decay)
        if config['vgg_w'] > 0:
            self.vgg = self._make_vgg(config['vgg_weights'])

    def _begin(self, config: dict) -> dict:
        """Set up what every trainer keeps account of; the complete config."""
        self.config = config = with_defaults(config, self.schema)
        self.iteration = 0       # the next one
        self.noise = Noise()
        self.ema = None          # the generators' averages, where there are any
        # Numbers that `save` writes and `resume` brings back, such as images drawn so far.
        self.progress: dict[str, Any] = {}
        # Iterations with a loss or a gradient that was not finite, which changed nothing. Counted on the device of the
        # networks, so that nothing waits for a GPU.
        for name, kind in (('bad_steps', torch.long), ('bad_in_a_row', torch.long), ('_bad', torch.bool)):
            self.register_buffer(name, torch.zeros((), dtype=kind), persistent=False)
        self.clips = nn.ModuleDict({of: GradientClip(config['grad_clip'], config['grad_clip_factor'])
                                    for of in ('gen', 'dis')})
        self.undo = Undo()
        return config

    def _adam(self, of: str, *networks: nn.Module) -> torch.optim.Adam:
        parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(parameters, fused=self.config['fused'])
        self._set_hyperparameters(optimizer, of)
        return optimizer

    def _set_hyperparameters(self, optimizer: torch.optim.Adam, of: str) -> None:
        config = self.config
        rate = config.get('dis_lr', config['lr']) if of == 'dis' else config['lr']
        for group in optimizer.param_groups:
            group.update(lr=rate, betas=(config['beta1'], config['beta2']), weight_decay=config['weight_decay'],
                         initial_lr=rate)   # the original's scheduler asks for it when it resumes from our file

    @staticmethod
    def _make_vgg(weights: str) -> Vgg16:
        vgg = Vgg16().eval()
        try:
            find_vgg_weights(weights)
        except BadInput:
            return vgg           # whoever trains with it loads weights first; it refuses to work without
        load_vgg_weights(vgg, weights)
        return vgg

    def _draw_display_styles(self) -> None:
        """Draw the styles that all sample images of a run share, so that they can be compared."""

    @property
    def gens_to_show(self) -> tuple[Any, Any]:
        """The generators for sample images: the averaged ones, where there are any."""
        return (self.ema.a, self.ema.b) if self.ema else (self.gen_a, self.gen_b)

    @property
    def gens(self) -> dict[str, Any]:
        """The generators by the letter of their domain."""
        return {'a': self.gen_a, 'b': self.gen_b}

    @property
    def dises(self) -> dict[str, Any]:
        """The discriminators by the letter of their domain."""
        return {'a': self.dis_a, 'b': self.dis_b}

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def compile_step(self, backend: str = 'inductor') -> None:
        """Compile what an iteration computes with torch.compile; the first iteration then takes minutes."""
        for name in ('encode', 'translate', 'dis_loss', 'gen_losses'):
            setattr(self, name, torch.compile(getattr(self, name), fullgraph=True, dynamic=False, backend=backend))

    # -- one iteration ------------------------------------------------------------------------------------------------

    def update_learning_rate(self) -> None:
        """Set the learning rates of the iteration that begins, and count it."""
        slow = 0.5 if self.iteration < self.progress.get('halved_until', 0) else 1.0   # after a rollback
        for of, optimizer in self._optimizers().items():
            rate = learning_rate(self.config, self.iteration, of) * slow
            for group in optimizer.param_groups:
                if isinstance(group['lr'], Tensor):   # a CUDA graph reads it
                    group['lr'].fill_(rate)
                else:
                    group['lr'] = rate
        self.iteration += 1
        if self.ema:
            self.ema.begin(self.iteration)

    def update(self, x_a: Tensor, x_b: Tensor) -> dict[str, Tensor]:
        """`dis_update`, then `gen_update`, on images (N, C, H, W) in [-1, 1]; their terms in one dict. If a loss or a
        gradient of one of them is not finite, weights, moments and statistics stay what they were.
        """
        self._begin_iteration()
        codes = self.encode(*self.corrupted(x_a, x_b))
        losses = {**self.dis_update(x_a, x_b, codes), **self.gen_update(x_a, x_b, codes)}
        self._end_iteration()
        return losses

    def _begin_iteration(self) -> None:
        self._bad.zero_()
        self.undo.keep('statistics', self._statistics())

    def _end_iteration(self) -> None:
        self.undo.put_back(self._bad)
        self.bad_steps += self._bad
        self.bad_in_a_row.copy_((self.bad_in_a_row + 1) * self._bad)

    def _statistics(self) -> list[Tensor]:
        """The tensors that an iteration changes apart from weights and moments: buffers of the networks (statistics of
        batch norm), u and v of spectral norm, and the norms of past gradients.
        """
        parts = self._parts()
        networks = [network for of_kind in parts.values() for network in of_kind.values()]
        constant = [p for dis in parts['dis'].values() for p in dis.parameters() if not p.requires_grad]
        return [*constant, *(buffer for part in (*networks, self.clips) for buffer in part.buffers())]

    def corrupted(self, x_a: Tensor, x_b: Tensor) -> tuple[Tensor, Tensor]:
        """The images (N, C, H, W) as the encoders see them: those of the domain `dirty` are corrupted."""
        def corrupted_one(images: Tensor) -> Tensor:
            numbers = self.noise.uniform((len(images) * world_size(), NOISE_PARAMS), images.device)
            return add_sketch_noise(images, share_of(numbers))

        dirty = self.config['dirty']
        return corrupted_one(x_a) if dirty == 'a' else x_a, corrupted_one(x_b) if dirty == 'b' else x_b

    @in_precision
    def dis_loss(self, a: str, x_a: Tensor, x_ba: Tensor) -> Tensor:
        """The loss of the discriminator of domain a on real and translated images (paper, equation 4)."""
        gan_type = self.config['dis']['gan_type']
        fake, real = judge_together(self.dises[a], x_ba, x_a)
        return adversarial_loss(fake, False, gan_type) + adversarial_loss(real, True, gan_type)

    def _step_discriminators(self, x_a: Tensor, x_b: Tensor, x_ab: Tensor, x_ba: Tensor) -> dict[str, Tensor]:
        """Update the discriminators, backpropagating one after the other."""
        self.dis_opt.zero_grad()   # of gradients that others may have left
        losses, penalties = {}, {}
        for a, real, fake in (('a', x_a, x_ba), ('b', x_b, x_ab)):
            real, fake = self.as_judged(real), self.as_judged(fake)
            loss = self.dis_loss(a, real, fake)
            (self.config['gan_w'] * loss).backward()
            losses[f'loss_dis_{a}'] = loss.detach()
            if self.penalty_is_due:
                penalties[f'loss_dis_r1_{a}'] = self._penalize(a, real)
        total = self.config['gan_w'] * (losses['loss_dis_a'] + losses['loss_dis_b'])
        self._mark_not_finite('dis', sum(penalties.values(), total))
        self._step('dis')
        return {**losses, 'loss_dis_total': total, **penalties}

    @property
    def penalty_is_due(self) -> bool:
        """Whether this iteration is one in `dis.r1_every`, in which the R1 penalty is computed."""
        dis = self.config['dis']
        return dis.get('r1_w', 0) > 0 and self.iteration % dis['r1_every'] == 0

    def _penalize(self, a: str, real: Tensor) -> Tensor:
        """Add the gradient of the R1 penalty of a discriminator, for all iterations since the last; the penalty."""
        dis, penalty = self.config['dis'], gradient_penalty(self.dises[a], real)
        (dis['r1_every'] * dis['r1_w'] / 2 * penalty).backward()
        return penalty.detach()

    def as_judged(self, images: Tensor) -> Tensor:
        """The images (N, C, H, W) as the discriminators see them: changed at random, as `dis.augment` says."""
        changes = self._draw_changes(images)
        return augment(images, changes[0], self.config['dis']['augment']) if changes else images

    def _draw_changes(self, images: Tensor) -> tuple[Tensor, ...]:
        """What `augment` needs for the images, for all processes that train together; nothing without `dis.augment`."""
        if self.config['dis'].get('augment', 'none') == 'none':
            return ()
        return (share_of(self.noise.uniform((len(images) * world_size(), AUGMENT_PARAMS), images.device)),)

    def _step_generators(self, x_a: Tensor, x_b: Tensor, codes_a: tuple, codes_b: tuple, noise_a, noise_b) -> dict:
        """Update the generators. The objective is a sum of two halves, one for the decoder of each domain: the graph of
        one half is backpropagated, and freed, before that of the other is recorded. The encoders, which take part in
        both halves, come last.
        """
        self.gen_opt.zero_grad()   # of gradients that others may have left
        leaves_a, leaves_b = detach_leaves(codes_a), detach_leaves(codes_b)
        losses: dict[str, Tensor] = {}
        total: Any = 0
        with frozen(self.dis_a, self.dis_b):
            for arguments in (('a', 'b', x_a, x_b, leaves_a, leaves_b, noise_a, *self._draw_changes(x_b)),
                              ('b', 'a', x_b, x_a, leaves_b, leaves_a, noise_b, *self._draw_changes(x_a))):
                terms, objective = self.gen_losses(*arguments)
                objective.backward()
                losses.update({name: term.detach() for name, term in terms.items()})
                total = total + objective.detach()
        backward_from_leaves(codes_a + codes_b, leaves_a + leaves_b, _parameters_of(self.gen_opt))
        self._mark_not_finite('gen', total)
        stepped = self._step('gen')
        if self.ema:
            self.ema.update(self.gen_a, self.gen_b, stepped)
        return {**losses, 'loss_gen_total': total}

    def _mark_not_finite(self, of: str, loss: Tensor) -> None:
        """Make a gradient NaN if the loss, or before the second step a statistic, is not finite. The gradients may be
        finite nevertheless, and they are what the processes of a distributed run average.
        """
        checked = loss.detach()
        if of != self.steps_first:
            statistics = [tensor for tensor in self.undo.kept.get('statistics', ()) if tensor.is_floating_point()]
            checked = torch.stack([checked, *torch._foreach_norm(statistics)]).sum() if statistics else checked
        gradients = (p.grad for p in _parameters_of(self._optimizers()[of]))
        next(gradient for gradient in gradients if gradient is not None).add_(0 * checked)

    def _step(self, of: str) -> Tensor:
        """Step an optimizer, 'gen' or 'dis', with the gradients that have accumulated: their mean over all processes,
        clipped as `grad_clip` says. If one of them is not finite, the optimizer does not step; within an iteration,
        neither of the two does.

        Returns:
            Whether it stepped, as a tensor: reading it here would wait for a GPU.
        """
        optimizer = self._optimizers()[of]
        parameters = [p for p in _parameters_of(optimizer) if p.grad is not None]
        average_gradients(parameters)
        bad = ~self.clips[of]([p.grad for p in parameters])
        first = bool(self.undo.kept) and of == self.steps_first
        if self.undo.kept:   # else one of the updates was called by itself
            bad = self._bad.logical_or_(bad)
        moments = _moments_of(optimizer)
        if first:   # whether the other optimizer steps is not known yet
            self.undo.keep('weights', parameters + moments)
        if self.config['fused']:
            optimizer.found_inf = bad.float()   # type: ignore[attr-defined]   # the kernel reads it itself
            optimizer.step()
        elif not bad:
            optimizer.step()
        if first and not moments:
            self.undo.keep('first moments', _moments_of(optimizer), as_zero=True)
        optimizer.zero_grad()   # here, not before the next update: gradients of one take no memory during the other
        return ~bad

    # -- save and resume ----------------------------------------------------------------------------------------------

    def generators(self) -> dict[str, nn.Module]:
        """The networks of a gen_%08d.pt, by their names there."""
        return self._parts()['gen']

    def discriminators(self) -> dict[str, nn.Module]:
        """The networks of a dis_%08d.pt, by their names there."""
        return self._parts()['dis']

    def _parts(self) -> dict[str, dict[str, nn.Module]]:
        parts: dict[str, dict[str, nn.Module]] = {'gen': {'a': self.gen_a, 'b': self.gen_b},
                                                  'dis': {'a': self.dis_a, 'b': self.dis_b}}
        return {**parts, 'ema': {'a': self.ema.a, 'b': self.ema.b}} if self.ema else parts

    def _optimizers(self) -> dict[str, torch.optim.Adam]:
        return {'gen': self.gen_opt, 'dis': self.dis_opt}

    def save(self, folder: str | Path, step: int, keep: int = 0) -> None:
        """Write the snapshot of `step` iterations: gen_%08d.pt, dis_%08d.pt, state_%08d.pt and optimizer.pt; with
        `ema_decay` also ema_%08d.pt, of the form of gen_%08d.pt.

        Args:
            keep: how many of the newest snapshots stay; 0 for all.

        Raises:
            OSError: the disk is full, or fails; earlier snapshots stay as they were.
            NotFinite: weights or moments are NaN or infinite; nothing is written, and earlier snapshots stay.
        """
        networks = {kind: {name: network.state_dict() for name, network in parts.items()}
                    for kind, parts in self._parts().items()}
        optimizers = {kind: self._plain_state(optimizer) for kind, optimizer in self._optimizers().items()}
        progress = {**self.progress, 'bad_steps': int(self.bad_steps), 'bad_in_a_row': int(self.bad_in_a_row)}
        state = {**optimizers, 'progress': progress, 'display_styles': self._display_styles()}
        state['grad_clip'] = {of: clip.memory() for of, clip in self.clips.items()}
        if memory := self._extra_state():
            state['memory'] = memory
        snapshots.write(Path(folder), step, networks, state, keep)

    @staticmethod
    def _plain_state(optimizer: torch.optim.Adam) -> dict:
        """An optimizer's state without the traces of a CUDA graph: rates are numbers."""
        state = optimizer.state_dict()
        groups = [{**group, 'lr': float(group['lr']), 'capturable': False} for group in state['param_groups']]
        return {**state, 'param_groups': groups}

    def resume(self, folder: str | Path, before: int | None = None) -> int:
        """Load the newest snapshot that `save`, or the original, wrote whole into `folder`; the step of it.

        Newer files that cannot be used are reported on stderr. Without a state the moments start from zero.

        Args:
            before: take a snapshot of fewer than so many steps; None for the newest.

        Returns:
            The step; 0 if the folder holds no snapshot.

        Raises:
            BadInput: files that do not fit the config, or snapshots of which all are damaged.
        """
        folder = Path(folder)
        found, weights = self._find_snapshot(folder, before)
        for line in (*found.damaged, *found.incomplete):
            print(f'{folder}: passed over {line}', file=sys.stderr)
        step = found.step
        if step is None and found.damaged:
            raise BadInput(f'{folder}: none of its snapshots can be used (see above); move the folder away to start a '
                           f'new run')
        if step is None:
            return 0
        state = snapshots.state_of_original(folder, step) if found.state is None else found.state
        optimizers = {of: self._fitting_state(of, state.get(of), folder) for of in self._optimizers()} if state else {}
        try:
            self._restore_progress(state)
        except (TypeError, ValueError, AttributeError, RuntimeError, KeyError):
            raise BadInput(f'{snapshots.file_of(folder, "state", step)}: not the state of a run with this config; move '
                           f'it away to continue with fresh moments') from None
        for kind, networks in self._parts().items():
            for name, network in networks.items():
                network.load_state_dict(weights[kind][name])
        for of, moments in optimizers.items():
            self._optimizers()[of].load_state_dict(moments)
        if not state:
            print(f'{folder}: no state of optimizers for step {step}; moments start from zero', file=sys.stderr)
        self.iteration = step
        return step

    def _find_snapshot(self, folder: Path, before: int | None) -> tuple[snapshots.Found, dict]:
        """The newest snapshot that can be used, and its weights by kind and network."""
        found = snapshots.find(folder, before)
        weights: dict[str, dict] = {}
        if found.step is None:
            return found, weights
        try:
            for kind, networks in self._parts().items():
                path = snapshots.file_of(folder, kind, found.step)
                if kind == 'ema' and not path.exists():   # the run had none so far: it begins with the weights
                    path = snapshots.file_of(folder, 'gen', found.step)
                weights[kind] = read_networks(path, networks)
        except NotFiniteFile as error:
            older, weights = self._find_snapshot(folder, found.step)
            return older._replace(damaged=[*found.damaged, f'step {found.step}: {error}', *older.damaged],
                                  incomplete=found.incomplete + older.incomplete), weights
        return found, weights

    def _restore_progress(self, state: dict) -> None:
        """Restore counts, display styles, norms of past gradients and what else a state holds beside moments."""
        progress = dict(state.get('progress', {}))
        if 'watch' in progress:
            DivergenceWatch().restore(progress['watch'])   # whether it can be
        self.bad_steps.fill_(progress.pop('bad_steps', 0))
        self.bad_in_a_row.fill_(progress.pop('bad_in_a_row', 0))
        self._restore_display_styles(state.get('display_styles', {}))
        self._restore_extra_state(state.get('memory', {}))
        for of, memory in state.get('grad_clip', {}).items():   # states of earlier versions have none
            self.clips[of].restore(memory)
        self.progress = progress

    def _fitting_state(self, of: str, state: Any, folder: Path) -> dict:
        """The moments of a file as a state of one of the optimizers. How steps are computed is the config's to say: all
        but the moments is the optimizer's own.
        """
        optimizer = self._optimizers()[of]
        self._set_hyperparameters(optimizer, of)   # the config may have changed since the file was written
        own = optimizer.state_dict()['param_groups']
        parameters = _parameters_of(optimizer)
        try:
            places = [place for group in state['param_groups'] for place in group['params']]
            moments = {i: {name: state['state'][place][name] for name in MOMENTS}
                       for i, place in enumerate(places) if state['state']}
            fits = len(places) == len(parameters) and len(state['state']) == len(moments) and all(
                moments[i][name].shape == parameters[i].shape and moments[i][name].is_floating_point()
                for i in moments for name in MOMENTS[1:])
        except (KeyError, ValueError, TypeError, AttributeError, IndexError):
            fits, moments = False, {}
        if not fits:
            raise BadInput(f'{folder / "optimizer.pt"}: not the optimizer state of this config and trainer; '
                           f'move it away to continue with fresh moments')
        return {'state': moments, 'param_groups': own}

    def style_codes(self, x_a: Tensor, x_b: Tensor) -> dict[str, Tensor]:
        """The style codes of images (N, C, H, W) in [-1, 1], as (N, style_dim) by the letter of their domain; none
        where the method has no style encoder.
        """
        return {}

    def _display_styles(self) -> dict[str, Tensor]:
        """The styles that all sample images of a run share."""
        return {}

    def _restore_display_styles(self, styles: dict[str, Tensor]) -> None:
        """Restore what `_display_styles` returned, as far as it fits."""

    def _extra_state(self) -> dict:
        """What else later iterations depend on: tensors by name, on the CPU."""
        return {}

    def _restore_extra_state(self, memory: dict) -> None:
        """Restore what `_extra_state` returned, as far as it fits."""


# ---------------------------------------------------------------------------------------------------------------------
# MUNIT
# ---------------------------------------------------------------------------------------------------------------------

class MUNIT_Trainer(Trainer):
    """Multimodal unsupervised image-to-image translation (paper, section 3.2)."""

    Generator = AdaINGen
    schema = MUNIT
    gen_a: AdaINGen
    gen_b: AdaINGen
    dis_a: MsImageDis
    dis_b: MsImageDis
    s_a: Tensor
    s_b: Tensor
    style_statistics: Any   # nn.ModuleDict of `StyleStatistics`, where they are logged

    def __init__(self, config: dict):
        super().__init__(config)
        self.rows_of_sample = ('input', 'reconstruction', 'style that stays the same over the run', 'random style',
                               *(('style of an image',) if config.get('display_guided', False) else ()))
        if config.get('log_styles', False):
            style_dim = config['gen']['style_dim']
            self.style_statistics = nn.ModuleDict({name: StyleStatistics(style_dim) for name in 'ab'})

    def _statistics(self) -> list[Tensor]:
        return [*super()._statistics(), *(self.style_statistics.buffers() if hasattr(self, 'style_statistics') else ())]

    def _extra_state(self) -> dict:
        return {'style_statistics': self.style_statistics.state_dict()} if hasattr(self, 'style_statistics') else {}

    def _restore_extra_state(self, memory: dict) -> None:
        if hasattr(self, 'style_statistics') and 'style_statistics' in memory:
            self.style_statistics.load_state_dict(memory['style_statistics'])

    def _draw_display_styles(self) -> None:
        n = self.config['display_size']
        self.register_buffer('s_a', self._draw_styles(n), persistent=False)
        self.register_buffer('s_b', self._draw_styles(n), persistent=False)

    def _display_styles(self) -> dict[str, Tensor]:
        return {'a': self.s_a.cpu(), 'b': self.s_b.cpu()}

    def _restore_display_styles(self, styles: dict[str, Tensor]) -> None:
        for name, own in (('a', self.s_a), ('b', self.s_b)):
            if name in styles and styles[name].shape == own.shape:
                own.copy_(styles[name])

    def _draw_styles(self, n: int) -> Tensor:
        """n styles from the prior N(0, 1), as (n, style_dim, 1, 1)."""
        return self.noise.normal((n, self.config['gen']['style_dim'], 1, 1), self.device)

    def _draw_styles_for(self, images: Tensor) -> Tensor:
        """A style for each of the images (N, C, H, W), drawn for all processes that train together."""
        return share_of(self._draw_styles(len(images) * world_size()))

    @in_precision
    def encode(self, x_a: Tensor, x_b: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The codes of both images: (c_a, s_a'), (c_b, s_b')."""
        return self.gen_a.encode(x_a), self.gen_b.encode(x_b)

    @in_precision
    def translate(self, c_a: Tensor, c_b: Tensor, s_a: Tensor, s_b: Tensor) -> tuple[Tensor, Tensor]:
        """The content of each domain with a style of the other: x_ab, x_ba."""
        return self.gen_b.decode(c_a, s_b), self.gen_a.decode(c_b, s_a)

    def dis_update(self, x_a: Tensor, x_b: Tensor, codes=None) -> dict[str, Tensor]:
        """One step of the discriminators on images (N, C, H, W) in [-1, 1].

        Args:
            codes: what `encode` returns for these images, where it is known.

        Returns:
            loss_dis_a, loss_dis_b, loss_dis_total.
        """
        s_a, s_b = self._draw_styles_for(x_a), self._draw_styles_for(x_b)
        with torch.no_grad():
            (c_a, _), (c_b, _) = codes or self.encode(*self.corrupted(x_a, x_b))
            x_ab, x_ba = self.translate(c_a.detach(), c_b.detach(), s_a, s_b)
        return self._step_discriminators(x_a, x_b, x_ab, x_ba)

    def gen_update(self, x_a: Tensor, x_b: Tensor, codes=None) -> dict[str, Tensor]:
        """One step of the generators on images (N, C, H, W) in [-1, 1].

        Args:
            codes: what `encode` returns for these images, where it is known.

        Returns:
            loss_gen_{recon_x, recon_s, recon_c, cycrecon_x, adv, vgg}_{a, b} and loss_gen_total; with `log_styles`
            also style_{offset, deviation, kl}_{a, b}.
        """
        s_a, s_b = self._draw_styles_for(x_a), self._draw_styles_for(x_b)
        codes_a, codes_b = codes or self.encode(*self.corrupted(x_a, x_b))
        losses = self._step_generators(x_a, x_b, codes_a, codes_b, s_a, s_b)
        if self.config['log_styles']:
            for name, (_, s_prime) in (('a', codes_a), ('b', codes_b)):
                statistics = self.style_statistics[name].update(s_prime)
                losses.update({f'style_{what}_{name}': value for what, value in statistics.items()})
        return losses

    @in_precision
    def gen_losses(self, a: str, b: str, x_a: Tensor, x_b: Tensor, codes_a: tuple, codes_b: tuple, s_a: Tensor,
                   changes: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """Equation 5, as far as the decoder of one domain takes part in it. Written for domain A and the translation
        from B to A; the other half is the same with a and b exchanged.

        Args:
            a, b: the letters of the domains.
            x_a, x_b: images (N, C, H, W) in [-1, 1].
            codes_a, codes_b: (c_a, s_a') and (c_b, s_b').
            s_a: styles ~ N(0, 1) for x_ba.
            changes: with `dis.augment`, how the discriminator sees x_ba, (N, AUGMENT_PARAMS).

        Returns:
            The terms by name, and their weighted sum.
        """
        w, gen_a, gen_b, dis_a = self.config, self.gens[a], self.gens[b], self.dises[a]
        (c_a, s_a_prime), (c_b, s_b_prime) = codes_a, codes_b
        # decode within the domain and across domains, both at once
        x_a_recon, x_ba = decode_together(gen_a, (c_a, s_a_prime), (c_b, s_a))
        # encode again
        c_b_recon, s_a_recon = gen_a.encode(x_ba)

        recon_x_a = reconstruction_loss(x_a_recon, x_a)            # equation 1
        # As in the original: neither side of the content term is detached.
        recon_c_b = reconstruction_loss(c_b_recon, c_b)            # equation 2
        recon_s_a = reconstruction_loss(s_a_recon, s_a)            # equation 3
        judged = x_ba if changes is None else augment(x_ba, changes, w['dis']['augment'])
        adv_a = adversarial_loss(dis_a(judged), True, w['dis']['gan_type'], of_generator=True)   # equation 4
        vgg_a = perceptual_loss(self.vgg, x_ba, x_b) if w['vgg_w'] > 0 else x_ba.new_zeros(())   # section 5.1
        cycrecon_x_b = x_b.new_zeros(())
        if w['recon_x_cyc_w'] > 0:
            # decode again: style-augmented cycle consistency
            x_bab = gen_b.decode(c_b_recon, s_b_prime)
            cycrecon_x_b = reconstruction_loss(x_bab, x_b)

        objective = (w['gan_w'] * adv_a
                     + w['recon_x_w'] * recon_x_a
                     + w['recon_s_w'] * recon_s_a
                     + w['recon_c_w'] * recon_c_b
                     + w['recon_x_cyc_w'] * cycrecon_x_b
                     + w['vgg_w'] * vgg_a)
        return {f'loss_gen_recon_x_{a}': recon_x_a, f'loss_gen_recon_c_{b}': recon_c_b,
                f'loss_gen_recon_s_{a}': recon_s_a, f'loss_gen_cycrecon_x_{b}': cycrecon_x_b,
                f'loss_gen_adv_{a}': adv_a, f'loss_gen_vgg_{a}': vgg_a}, objective

    @torch.no_grad()
    def sample(self, x_a: Tensor, x_b: Tensor) -> tuple[Tensor, ...]:
        """Sample images for images (N, C, H, W) in [-1, 1], made one by one to save memory.

        Returns:
            x_a, its reconstruction, its translations with a style that is fixed for the run and with a random one, and
            with `display_guided` with the style of x_b; then the same of x_b. All (N, C, H, W).
        """
        s_a_random, s_b_random = self._draw_styles(len(x_b)), self._draw_styles(len(x_a))
        gen_a, gen_b = gens = self.gens_to_show
        guided = self.config['display_guided']

        def rows(x: Tensor, own: AdaINGen, other: AdaINGen, guides: Tensor, fixed: Tensor, random: Tensor) -> list:
            rows = []
            for i in range(len(x)):
                content, style = own.encode(x[i:i + 1])
                j = i % len(guides)
                styles = [fixed[i % len(fixed)][None], random[i:i + 1],
                          *([other.encode(guides[j:j + 1])[1]] if guided else [])]
                rows.append((x[i:i + 1], own.decode(content, style), *(other.decode(content, s) for s in styles)))
            return rows

        with eval_mode(*gens):
            from_a = rows(x_a, gen_a, gen_b, x_b, self.s_b, s_b_random)
            from_b = rows(x_b, gen_b, gen_a, x_a, self.s_a, s_a_random)
        return tuple(torch.cat(images) for images in [*zip(*from_a, strict=True), *zip(*from_b, strict=True)])

    @torch.no_grad()
    def style_codes(self, x_a: Tensor, x_b: Tensor) -> dict[str, Tensor]:
        codes = {}
        with eval_mode(*self.gens_to_show) as gens:
            for name, gen, images in zip('ab', gens, (x_a, x_b), strict=True):
                codes[name] = torch.cat([gen.enc_style(image).flatten(1) for image in images.split(1)])
        return codes


# ---------------------------------------------------------------------------------------------------------------------
# UNIT
# ---------------------------------------------------------------------------------------------------------------------

class UNIT_Trainer(Trainer):
    """Unsupervised image-to-image translation networks (Liu et al., 2017): one shared latent space, one output."""

    Generator = VAEGen
    schema = UNIT
    gen_a: VAEGen
    gen_b: VAEGen
    dis_a: MsImageDis
    dis_b: MsImageDis
    rows_of_sample = ('input', 'reconstruction', 'translation')

    @in_precision
    def encode(self, x_a: Tensor, x_b: Tensor) -> tuple[Tensor, Tensor]:
        """The means of both posteriors: h_a, h_b. Each update draws its own noise."""
        return self.gen_a.enc(x_a), self.gen_b.enc(x_b)

    @in_precision
    def translate(self, z_a: Tensor, z_b: Tensor) -> tuple[Tensor, Tensor]:
        """Draws from both posteriors, each decoded in the other domain: x_ab, x_ba."""
        return self.gen_b.decode(z_a), self.gen_a.decode(z_b)

    def _draw_noise_for(self, hiddens: Tensor) -> Tensor:
        """N(0, 1) of the hiddens' shape (N, C, H, W), drawn for all processes that train together."""
        n, *others = hiddens.shape
        return share_of(self.noise.normal((n * world_size(), *others), hiddens.device))

    def dis_update(self, x_a: Tensor, x_b: Tensor, codes=None) -> dict[str, Tensor]:
        """One step of the discriminators on images (N, C, H, W) in [-1, 1].

        Args:
            codes: what `encode` returns for these images, where it is known.

        Returns:
            loss_dis_a, loss_dis_b, loss_dis_total.
        """
        with torch.no_grad():
            h_a, h_b = codes or self.encode(*self.corrupted(x_a, x_b))
            z_a, z_b = h_a + self._draw_noise_for(h_a), h_b + self._draw_noise_for(h_b)
            x_ab, x_ba = self.translate(z_a, z_b)
        return self._step_discriminators(x_a, x_b, x_ab, x_ba)

    def gen_update(self, x_a: Tensor, x_b: Tensor, codes=None) -> dict[str, Tensor]:
        """One step of the generators on images (N, C, H, W) in [-1, 1].

        Args:
            codes: what `encode` returns for these images, where it is known.

        Returns:
            loss_gen_{recon_x, recon_kl, cyc_x, adv, vgg}_{a, b}, loss_gen_recon_kl_cyc_{aba, bab}, loss_gen_total.
        """
        h_a, h_b = codes or self.encode(*self.corrupted(x_a, x_b))
        z_a, z_b = h_a + self._draw_noise_for(h_a), h_b + self._draw_noise_for(h_b)
        noise_ba, noise_ab = self._draw_noise_for(h_b), self._draw_noise_for(h_a)   # of x_ba and x_ab, encoded again
        return self._step_generators(x_a, x_b, (h_a, z_a), (h_b, z_b), noise_ba, noise_ab)

    @in_precision
    def gen_losses(self, a: str, b: str, x_a: Tensor, x_b: Tensor, codes_a: tuple, codes_b: tuple, noise_ba: Tensor,
                   changes: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """The objective, as far as the decoder of one domain takes part in it. Written for domain A and the translation
        from B to A; the other half is the same with a and b exchanged.

        Args:
            a, b: the letters of the domains.
            x_a, x_b: images (N, C, H, W) in [-1, 1].
            codes_a, codes_b: (h_a, z_a) and (h_b, z_b): means of the posteriors, and draws from them.
            noise_ba: N(0, 1) for the posterior of x_ba.
            changes: with `dis.augment`, how the discriminator sees x_ba, (N, AUGMENT_PARAMS).

        Returns:
            The terms by name, and their weighted sum.
        """
        w, gen_a, gen_b, dis_a = self.config, self.gens[a], self.gens[b], self.dises[a]
        (h_a, z_a), (_, z_b) = codes_a, codes_b
        # decode within the domain and across domains, both at once
        x_a_recon, x_ba = decode_together(gen_a, (z_a,), (z_b,))
        # encode again
        h_b_recon = gen_a.enc(x_ba)

        recon_x_a = reconstruction_loss(x_a_recon, x_a)
        recon_kl_a = kl_loss(h_a)
        recon_kl_cyc_bab = kl_loss(h_b_recon)
        judged = x_ba if changes is None else augment(x_ba, changes, w['dis']['augment'])
        adv_a = adversarial_loss(dis_a(judged), True, w['dis']['gan_type'], of_generator=True)
        vgg_a = perceptual_loss(self.vgg, x_ba, x_b) if w['vgg_w'] > 0 else x_ba.new_zeros(())
        cyc_x_b = x_b.new_zeros(())
        if w['recon_x_cyc_w'] > 0:
            # decode again: cycle consistency
            x_bab = gen_b.decode(h_b_recon + noise_ba)
            cyc_x_b = reconstruction_loss(x_bab, x_b)

        objective = (w['gan_w'] * adv_a
                     + w['recon_x_w'] * recon_x_a
                     + w['recon_kl_w'] * recon_kl_a
                     + w['recon_x_cyc_w'] * cyc_x_b
                     + w['recon_kl_cyc_w'] * recon_kl_cyc_bab
                     + w['vgg_w'] * vgg_a)
        return {f'loss_gen_recon_x_{a}': recon_x_a, f'loss_gen_recon_kl_{a}': recon_kl_a,
                f'loss_gen_recon_kl_cyc_{b}{a}{b}': recon_kl_cyc_bab, f'loss_gen_cyc_x_{b}': cyc_x_b,
                f'loss_gen_adv_{a}': adv_a, f'loss_gen_vgg_{a}': vgg_a}, objective

    @torch.no_grad()
    def sample(self, x_a: Tensor, x_b: Tensor) -> tuple[Tensor, ...]:
        """Sample images for images (N, C, H, W) in [-1, 1], made one by one and without noise.

        Returns:
            x_a, its reconstruction, its translation; then the same three of x_b. All (N, C, H, W).
        """
        from_a, from_b = [], []
        with eval_mode(*self.gens_to_show) as (gen_a, gen_b):
            for x in x_a.split(1):
                h_a = gen_a.enc(x)
                from_a.append((x, gen_a.decode(h_a), gen_b.decode(h_a)))
            for x in x_b.split(1):
                h_b = gen_b.enc(x)
                from_b.append((x, gen_b.decode(h_b), gen_a.decode(h_b)))
        return tuple(torch.cat(images) for images in [*zip(*from_a, strict=True), *zip(*from_b, strict=True)])
