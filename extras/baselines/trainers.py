"""The methods that the paper sets MUNIT beside (table 1): what they optimise, and in which order.

    CycleGAN       x_ab = gen_b(x_a), x_ba = gen_a(x_b); back again; generators first, then discriminators
    CycleGANNoise  the same with noise beside the image, which nothing keeps a generator from ignoring
    BicycleGAN     from pairs: x_ab = gen_b(x_a, code), the code that of the pair's x_b, or random

Here gen_b makes pictures of domain B. Sources of the networks stand in `baselines`; CycleGAN's objective is that of its
paper's section 3.3 with the identity term of section 5.2, BicycleGAN's that of section 3.4 of its own.
"""
from typing import Any

import torch
from torch import Tensor, nn

from core.autograd_utils import frozen
from core.noise import gaussian_noise
from core.precision import in_precision
from extras.baselines.networks import CodeEncoder, PatchDiscriminator, ResnetGenerator, UNetGenerator, init_weights
from extras.baselines.schemas import BICYCLEGAN, CYCLEGAN, CYCLEGAN_NOISE
from trainer import Trainer, adversarial_loss, reconstruction_loss


class ImagePool:
    """Translations of earlier iterations, so that a discriminator does not forget what it has seen (CycleGAN,
    section 4: a history of 50 images, after Shrivastava et al., 2017).

    Args:
        size: images that it holds; 0 for none, and what comes in goes out.
    """

    stored: Tensor   # (size, C, H, W), of which the first `count` are images
    count: Tensor    # on the device, as `undo` may turn it back

    def __init__(self, size: int):
        self.size, self.replaced = size, []

    def swap(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W), each in turn stored and returned while there is room; then with probability 1/2 a
        stored one is returned and the new one takes its place, else the new one is returned.
        """
        returned = []
        for image in images.detach().split(1):
            chance, index = torch.rand(()), torch.randint(max(1, self.size), ())
            returned.append(self._swap_one(image, bool(chance < 0.5), index) if self.size else image)
        return torch.cat(returned)

    def _swap_one(self, image: Tensor, swaps: bool, index: Tensor) -> Tensor:
        if not hasattr(self, 'stored'):
            self._make_room(tuple(image.shape[1:]), image.device)
        full = self.count >= self.size
        place = torch.where(full, index.to(image.device, non_blocking=True), self.count).view(1)
        old, new = self.stored.index_select(0, place), image.float().nan_to_num()
        self.replaced.append((place, old, self.count.clone()))
        self.stored.index_copy_(0, place, new if swaps else torch.where(full, old, new))
        self.count += ~full
        return torch.where(full, old.to(image.dtype), image) if swaps else image

    def _make_room(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.stored = torch.zeros(self.size, *shape, device=device)
        self.count = torch.zeros((), dtype=torch.long, device=device)

    def undo(self, bad: Tensor) -> None:
        """Take back what was swapped since the last call if `bad`, a truth value on the device, holds."""
        for place, old, count in reversed(self.replaced):
            self.stored.index_copy_(0, place, torch.where(bad, old, self.stored.index_select(0, place)))
            self.count.copy_(torch.where(bad, count, self.count))
        self.replaced = []

    def content(self) -> Tensor:
        """All that it holds (n, C, H, W), on the CPU."""
        return self.stored[:int(self.count)].cpu() if hasattr(self, 'stored') else torch.empty(0)

    def restore(self, content: Tensor, shape: tuple[int, int, int], device: torch.device) -> None:
        """Take up what `content` gave; nothing of it where the images have another shape (C, H, W) by now."""
        self._make_room(shape, device)
        if content.dim() == 4 and tuple(content.shape[1:]) == shape:
            held = content[:self.size].float()
            self.stored[:len(held)] = held.to(device)
            self.count.fill_(len(held))


class BaselineTrainer(Trainer):
    """What the three share: building, initialising, and an iteration that teaches the generators first.

    Args:
        config: as `config.load_config` returns it for this trainer, or an equal dict.
    """

    steps_first = 'gen'

    def __init__(self, config: dict):
        nn.Module.__init__(self)
        config = self._begin(config)
        self._build()
        parts = self._parts()
        self.gen_opt, self.dis_opt = (self._adam(of, *parts[of].values()) for of in ('gen', 'dis'))
        self.apply(init_weights(config['init'], config['init_gain']))

    def _build(self) -> None:
        """Make the networks."""
        raise NotImplementedError

    def compile_step(self, backend: str = 'inductor') -> None:
        """Let torch.compile make kernels of the networks; the first iteration then takes minutes."""
        for parts in self._parts().values():
            for network in parts.values():
                network.compile(dynamic=False, backend=backend)

    def update(self, x_a: Tensor, x_b: Tensor) -> dict[str, Tensor]:
        """`gen_update`, then `dis_update` on the same translations, of images (N, C, H, W) in [-1, 1]. If a loss or a
        gradient of one of them is not finite, weights, moments and pools stay what they were.
        """
        self._begin_iteration()
        fakes = self.translate(x_a, x_b)
        losses = self.gen_update(x_a, x_b, fakes)
        losses.update(self.dis_update(x_a, x_b, fakes))
        self._end_iteration()
        return losses

    def _fooled(self, dis: nn.Module, fake: Tensor) -> Tensor:
        """How far the discriminator is from taking translations for real."""
        return adversarial_loss(dis(fake), True, self.config['dis']['gan_type'])

    def _told_apart(self, dis: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """How far the discriminator is from telling real images from translations."""
        gan_type = self.config['dis']['gan_type']
        return adversarial_loss(dis(fake), False, gan_type) + adversarial_loss(dis(real), True, gan_type)


# ---------------------------------------------------------------------------------------------------------------------
# CycleGAN
# ---------------------------------------------------------------------------------------------------------------------

class CycleGAN_Trainer(BaselineTrainer):
    """CycleGAN (Zhu et al., 2017) with dropout in its generators, in training and at test, as the paper compared it."""

    schema = CYCLEGAN

    rows_of_sample = ('input', 'translation', 'another draw of dropout and noise', 'there and back')

    def _build(self) -> None:
        config = self.config
        self.gen_a = self._make_generator(config['input_dim_b'], config['input_dim_a'])
        self.gen_b = self._make_generator(config['input_dim_a'], config['input_dim_b'])
        self.dis_a = PatchDiscriminator(config['input_dim_a'], config['dis'])
        self.dis_b = PatchDiscriminator(config['input_dim_b'], config['dis'])
        self.pools = {name: ImagePool(config['pool_size']) for name in 'ab'}

    def _make_generator(self, input_dim: int, output_dim: int) -> nn.Module:
        return ResnetGenerator(input_dim, output_dim, self.config['gen'])

    @in_precision
    def into(self, a: str, images: Tensor) -> Tensor:
        """Images (N, C, H, W), given to the generator that makes pictures of domain `a`."""
        return getattr(self, f'gen_{a}')(images)

    def translate(self, x_a: Tensor, x_b: Tensor) -> tuple[Tensor, Tensor]:
        """The translations x_ab, x_ba of images (N, C, H, W)."""
        return self.into('b', x_a), self.into('a', x_b)

    def gen_update(self, x_a: Tensor, x_b: Tensor, fakes=None) -> dict[str, Tensor]:
        """One step of both generators on images (N, C, H, W) in [-1, 1].

        Args:
            fakes: what `translate` gives for these images, where that is known already.

        Returns:
            loss_gen_{adv, cyc_x, identity}_{a, b} and loss_gen_total.
        """
        self.gen_opt.zero_grad()   # of what others may have left
        x_ab, x_ba = fakes or self.translate(x_a, x_b)
        with frozen(self.dis_a, self.dis_b):
            losses, objective = self.gen_losses(x_a, x_b, x_ab, x_ba)
        objective.backward()
        self._mark_not_finite('gen', objective)
        self._step('gen')
        return {**{name: loss.detach() for name, loss in losses.items()}, 'loss_gen_total': objective.detach()}

    @in_precision
    def gen_losses(self, x_a: Tensor, x_b: Tensor, x_ab: Tensor, x_ba: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """CycleGAN's objective: its terms by name, and their weighted sum."""
        w, losses = self.config, {}
        objective = 0
        for a, x, x_there, fake in (('a', x_a, x_ab, x_ba), ('b', x_b, x_ba, x_ab)):
            adv = self._fooled(getattr(self, f'dis_{a}'), fake)
            cyc_x = reconstruction_loss(self.into(a, x_there), x)
            identity = x.new_zeros(())
            if w['identity_w'] > 0:
                # What is of the domain already should stay as it is: it keeps tints.
                identity = reconstruction_loss(self.into(a, x), x)
            losses.update({f'loss_gen_adv_{a}': adv, f'loss_gen_cyc_x_{a}': cyc_x, f'loss_gen_identity_{a}': identity})
            objective = objective + w['gan_w'] * adv + w['recon_x_cyc_w'] * cyc_x + w['identity_w'] * identity
        return losses, objective

    def dis_update(self, x_a: Tensor, x_b: Tensor, fakes=None) -> dict[str, Tensor]:
        """One step of both discriminators, which see translations through the pools.

        Args:
            fakes: what `translate` gives for these images, where that is known already.

        Returns:
            loss_dis_a, loss_dis_b, loss_dis_total.
        """
        self.dis_opt.zero_grad()   # of what others may have left
        if fakes is None:
            with torch.no_grad():
                fakes = self.translate(x_a, x_b)
        x_ab, x_ba = fakes
        losses = {}
        for a, real, fake in (('a', x_a, x_ba), ('b', x_b, x_ab)):
            loss = self.dis_loss(a, real, self.pools[a].swap(fake))
            (self.config['gan_w'] * loss).backward()
            losses[f'loss_dis_{a}'] = loss.detach()
        total = self.config['gan_w'] * (losses['loss_dis_a'] + losses['loss_dis_b'])
        self._mark_not_finite('dis', total)
        self._step('dis')
        return {**losses, 'loss_dis_total': total}

    @in_precision
    def dis_loss(self, a: str, real: Tensor, fake: Tensor) -> Tensor:
        """How far the discriminator of domain `a` is from telling real from translated images, halved, which slows it
        down against the generators (CycleGAN, section 7.1).
        """
        return 0.5 * self._told_apart(getattr(self, f'dis_{a}'), real, fake)

    @torch.no_grad()
    def sample(self, x_a: Tensor, x_b: Tensor) -> tuple[Tensor, ...]:
        """Pictures to watch, for images (N, C, H, W) in [-1, 1], made one by one; dropout stays on, as at test.

        Returns:
            x_a, its translation, another one, and x_a translated there and back; then the same four of x_b.
        """
        rows = []
        for a, b, images in (('a', 'b', x_a), ('b', 'a', x_b)):
            made = []
            for x in images.split(1):
                there = self.into(b, x).float()
                made.append((x, there, self.into(b, x).float(), self.into(a, there).float()))
            rows += [torch.cat(row) for row in zip(*made, strict=True)]
        return tuple(rows)

    def _begin_iteration(self) -> None:
        super()._begin_iteration()
        for pool in self.pools.values():
            pool.replaced = []   # of updates that were called by themselves

    def _end_iteration(self) -> None:
        for pool in self.pools.values():
            pool.undo(self._bad)
        super()._end_iteration()

    def _extra_state(self) -> dict[str, Any]:
        return {name: pool.content() for name, pool in self.pools.items()}

    def _restore_extra_state(self, memory: dict[str, Any]) -> None:
        size = (self.config['crop_image_height'], self.config['crop_image_width'])
        for name, pool in self.pools.items():
            shape = (self.config[f'input_dim_{name}'], *size)
            pool.restore(memory.get(name, torch.empty(0)), shape, self.device)


class CycleGANNoise_Trainer(CycleGAN_Trainer):
    """CycleGAN* of the paper: U-Nets that also take noise N(0, 1), tiled over the image, in both translators.

    The paper gives neither its size nor how it is drawn for the way back: 8 values here, drawn anew for each call.
    """

    schema = CYCLEGAN_NOISE

    def _make_generator(self, input_dim: int, output_dim: int) -> nn.Module:
        return UNetGenerator(input_dim, output_dim, self.config['gen'], everywhere=False)

    @in_precision
    def into(self, a: str, images: Tensor) -> Tensor:
        """Images (N, C, H, W), given with noise to the generator that makes pictures of domain `a`."""
        noise = gaussian_noise((len(images), self.config['gen']['noise_dim']), images.device)
        return getattr(self, f'gen_{a}')(images, noise)


# ---------------------------------------------------------------------------------------------------------------------
# BicycleGAN
# ---------------------------------------------------------------------------------------------------------------------

def code_kl_loss(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of N(mean, exp(log_variance)) from N(0, 1), summed over values and images."""
    mean, log_variance = mean.float(), log_variance.float()
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()


class BicycleGAN_Trainer(BaselineTrainer):
    """BicycleGAN (Zhu et al., 2017), from A to B: the only method of table 1 that learns from pairs.

    Of a batch, the first half of the pairs is translated twice: with the code of its own x_b (cVAE-GAN), and with a
    random one (cLR-GAN). The two discriminators look at B alone: the first sees the first half's pictures as real, the
    second those of the other half.
    """

    schema = BICYCLEGAN

    rows_of_sample = ('input', 'its pair', "translation with the pair's code", 'code that stays the same over the run',
                      'random code')

    def _build(self) -> None:
        config = self.config
        self.gen_b = UNetGenerator(config['input_dim_a'], config['input_dim_b'], config['gen'], everywhere=True)
        self.enc_b = CodeEncoder(config['input_dim_b'], config['gen'])
        self.dis_b = PatchDiscriminator(config['input_dim_b'], config['dis'])
        self.dis_b2 = PatchDiscriminator(config['input_dim_b'], config['dis'])
        self._draw_display_styles()

    def _parts(self) -> dict[str, dict[str, nn.Module]]:
        return {'gen': {'b': self.gen_b, 'enc_b': self.enc_b}, 'dis': {'b': self.dis_b, 'b2': self.dis_b2}}

    def _draw_display_styles(self) -> None:
        self.register_buffer('z', self._draw_codes(self.config['display_size'], torch.device('cpu')), persistent=False)

    def _display_styles(self) -> dict[str, Tensor]:
        return {'b': self.z.cpu()}

    def _restore_display_styles(self, styles: dict[str, Tensor]) -> None:
        if 'b' in styles and styles['b'].shape == self.z.shape:
            self.z.copy_(styles['b'])

    def _draw_codes(self, n: int, device: torch.device) -> Tensor:
        """n codes from the prior N(0, 1), as (n, noise_dim)."""
        return gaussian_noise((n, self.config['gen']['noise_dim']), device)

    @in_precision
    def encode(self, x_b: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the codes of images (N, C, H, W) of domain B."""
        mean, log_variance = self.enc_b(x_b)
        return mean.float(), log_variance.float()

    @in_precision
    def decode(self, x_a: Tensor, code: Tensor) -> Tensor:
        """Images (N, C, H, W) of domain A with codes (N, noise_dim): images of domain B."""
        return self.gen_b(x_a, code)

    def translate(self, x_a: Tensor, x_b: Tensor) -> dict[str, Tensor]:
        """What both updates need of a batch (N, C, H, W), N even: the two translations of its first half of x_a, and
        what they were made with.

        Returns:
            x_encoded, x_random (N/2, C, H, W); mean and log_variance of the codes of the first half of x_b, and
            z_random, all (N/2, noise_dim).

        Raises:
            ValueError: a batch that cannot be halved.
        """
        half, odd = divmod(len(x_a), 2)
        if odd or not half:
            raise ValueError(f'a batch of {len(x_a)} pairs cannot be halved')
        mean, log_variance = self.encode(x_b[:half])
        z_encoded = mean + (0.5 * log_variance).exp() * self._draw_codes(half, x_a.device)
        z_random = self._draw_codes(half, x_a.device)
        both = self.decode(torch.cat([x_a[:half]] * 2), torch.cat([z_encoded, z_random]))
        x_encoded, x_random = both.chunk(2)
        return {'x_encoded': x_encoded, 'x_random': x_random, 'mean': mean, 'log_variance': log_variance,
                'z_random': z_random}

    def gen_update(self, x_a: Tensor, x_b: Tensor, fakes=None) -> dict[str, Tensor]:
        """One step of generator and encoder on pairs (N, C, H, W) in [-1, 1], N even.

        Args:
            fakes: what `translate` gives for these images, where that is known already.

        Returns:
            loss_gen_{adv, adv2, recon_x, kl, latent} and loss_gen_total.
        """
        self.gen_opt.zero_grad()   # of what others may have left
        fakes = fakes or self.translate(x_a, x_b)
        with frozen(self.dis_b, self.dis_b2):
            losses, objective = self.gen_losses(x_b, fakes)
        objective.backward()
        self._mark_not_finite('gen', objective)
        self._step('gen')
        return {**{name: loss.detach() for name, loss in losses.items()}, 'loss_gen_total': objective.detach()}

    @in_precision
    def gen_losses(self, x_b: Tensor, fakes: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """BicycleGAN's objective: its terms by name, and their weighted sum.

        Generator and encoder step at once, with the gradients of all terms at the weights of one iteration. (Of the
        authors' two releases the later does so; the earlier steps the generator again for the latent term alone.)
        """
        w = self.config
        adv = self._fooled(self.dis_b, fakes['x_encoded'])
        adv2 = self._fooled(self.dis_b2, fakes['x_random'])
        recon_x = reconstruction_loss(fakes['x_encoded'], x_b[:len(x_b) // 2])
        kl = code_kl_loss(fakes['mean'], fakes['log_variance'])
        # The encoder must not learn to find codes that the generator hides in its pictures.
        with frozen(self.enc_b):
            mean_random, _ = self.encode(fakes['x_random'])
        latent = reconstruction_loss(mean_random, fakes['z_random'])

        objective = (w['gan_w'] * adv
                     + w['gan2_w'] * adv2
                     + w['recon_x_w'] * recon_x
                     + w['kl_w'] * kl
                     + w['latent_w'] * latent)
        return {'loss_gen_adv': adv, 'loss_gen_adv2': adv2, 'loss_gen_recon_x': recon_x, 'loss_gen_kl': kl,
                'loss_gen_latent': latent}, objective

    def dis_update(self, x_a: Tensor, x_b: Tensor, fakes=None) -> dict[str, Tensor]:
        """One step of both discriminators on pairs (N, C, H, W), N even.

        Args:
            fakes: what `translate` gives for these images, where that is known already.

        Returns:
            loss_dis_b, loss_dis_b2, loss_dis_total.
        """
        self.dis_opt.zero_grad()   # of what others may have left
        if fakes is None:
            with torch.no_grad():
                fakes = self.translate(x_a, x_b)
        half = len(x_b) // 2
        loss = self.dis_loss(self.dis_b, x_b[:half], fakes['x_encoded'].detach())
        loss2 = self.dis_loss(self.dis_b2, x_b[half:], fakes['x_random'].detach())
        total = self.config['gan_w'] * loss + self.config['gan2_w'] * loss2
        total.backward()
        self._mark_not_finite('dis', total)
        self._step('dis')
        return {'loss_dis_b': loss.detach(), 'loss_dis_b2': loss2.detach(), 'loss_dis_total': total.detach()}

    @in_precision
    def dis_loss(self, dis: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """How far a discriminator is from telling real from translated images."""
        return self._told_apart(dis, real, fake)

    @torch.no_grad()
    def sample(self, x_a: Tensor, x_b: Tensor) -> tuple[Tensor, ...]:
        """Pictures to watch, for pairs (N, C, H, W) in [-1, 1], made one by one and without dropout, as at test.

        Returns:
            x_a, x_b, the translations of x_a with the code of x_b, with one that is fixed for the run, and with a
            random one. Nothing from B to A.
        """
        z_random, rows = self._draw_codes(len(x_a), x_a.device), []
        self.gen_b.eval()
        for i, (a, b) in enumerate(zip(x_a.split(1), x_b.split(1), strict=True)):
            codes = (self.encode(b)[0], self.z[i % len(self.z)][None], z_random[i:i + 1])
            rows.append((a, b, *(self.decode(a, code).float() for code in codes)))
        self.gen_b.train()
        return tuple(torch.cat(row) for row in zip(*rows, strict=True))

    @torch.no_grad()
    def style_codes(self, x_a: Tensor, x_b: Tensor) -> dict[str, Tensor]:
        return {'b': torch.cat([self.encode(b)[0] for b in x_b.split(1)])}   # of the posteriors, the means
