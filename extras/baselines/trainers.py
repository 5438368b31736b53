"""Training of the methods that the paper compares MUNIT with (table 1).

    CycleGAN       x_ab = gen_b(x_a) and x_ba = gen_a(x_b), with cycle consistency
    CycleGANNoise  the same with noise as a second input, which no loss keeps a generator from ignoring
    BicycleGAN     from pairs: x_ab = gen_b(x_a, code) with the code of the pair's x_b, or with a random code

gen_b generates images of domain B. Each iteration updates the generators first, then the discriminators. `networks`
lists the sources of the networks. CycleGAN's objective is that of section 3.3 of its paper with the identity term of
section 5.2; BicycleGAN's is that of section 3.4 of its paper.
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
    """A history of translations of earlier iterations, so that a discriminator does not forget them (CycleGAN,
    section 4: 50 images, after Shrivastava et al., 2017).

    Args:
        size: capacity in images. With 0, `swap` returns its input.
    """

    stored: Tensor   # (size, C, H, W), of which the first `count` are images
    count: Tensor    # on the device, as `undo` may reset it without waiting

    def __init__(self, size: int):
        self.size, self.replaced = size, []

    def swap(self, images: Tensor) -> Tensor:
        """Exchange images (N, C, H, W), one at a time, with stored ones.

        Until the pool is full, each image is stored and returned. Then, with probability 1/2, a random stored image is
        returned and replaced by the new one; otherwise the new image is returned.
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
        """Undo all swaps since the last call if `bad`, a bool tensor on the device, is true."""
        for place, old, count in reversed(self.replaced):
            self.stored.index_copy_(0, place, torch.where(bad, old, self.stored.index_select(0, place)))
            self.count.copy_(torch.where(bad, count, self.count))
        self.replaced = []

    def content(self) -> Tensor:
        """The stored images (n, C, H, W), on the CPU."""
        return self.stored[:int(self.count)].cpu() if hasattr(self, 'stored') else torch.empty(0)

    def restore(self, content: Tensor, shape: tuple[int, int, int], device: torch.device) -> None:
        """Restore what `content` returned, or leave the pool empty if the images do not have the shape (C, H, W)."""
        self._make_room(shape, device)
        if content.dim() == 4 and tuple(content.shape[1:]) == shape:
            held = content[:self.size].float()
            self.stored[:len(held)] = held.to(device)
            self.count.fill_(len(held))


class BaselineTrainer(Trainer):
    """Base class of the three trainers: construction, initialization, and an iteration that updates the generators
    first.

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
        """Create the networks."""
        raise NotImplementedError

    def compile_step(self, backend: str = 'inductor') -> None:
        """Compile the networks with torch.compile, which makes the first iteration take minutes."""
        for parts in self._parts().values():
            for network in parts.values():
                network.compile(dynamic=False, backend=backend)

    def update(self, x_a: Tensor, x_b: Tensor) -> dict[str, Tensor]:
        """One iteration on images (N, C, H, W) in [-1, 1]: `gen_update`, then `dis_update` on the same translations.

        If a loss or a gradient of either is not finite, weights, moments and pools are left unchanged.
        """
        self._begin_iteration()
        fakes = self.translate(x_a, x_b)
        losses = self.gen_update(x_a, x_b, fakes)
        losses.update(self.dis_update(x_a, x_b, fakes))
        self._end_iteration()
        return losses

    def _generator_loss(self, dis: nn.Module, fake: Tensor) -> Tensor:
        """The adversarial loss of a generator: low where the discriminator takes translations for real."""
        return adversarial_loss(dis(fake), True, self.config['dis']['gan_type'])

    def _discriminator_loss(self, dis: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """The adversarial loss of a discriminator: low where it distinguishes real images from translations."""
        gan_type = self.config['dis']['gan_type']
        return adversarial_loss(dis(fake), False, gan_type) + adversarial_loss(dis(real), True, gan_type)


# ---------------------------------------------------------------------------------------------------------------------
# CycleGAN
# ---------------------------------------------------------------------------------------------------------------------

class CycleGAN_Trainer(BaselineTrainer):
    """CycleGAN (Zhu et al., 2017) with dropout in its generators, in training and at test time, as MUNIT's paper uses
    it.
    """

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
        """Translate images (N, C, H, W) with the generator of domain `a`."""
        return getattr(self, f'gen_{a}')(images)

    def translate(self, x_a: Tensor, x_b: Tensor) -> tuple[Tensor, Tensor]:
        """The translations x_ab, x_ba of images (N, C, H, W)."""
        return self.into('b', x_a), self.into('a', x_b)

    def gen_update(self, x_a: Tensor, x_b: Tensor, fakes=None) -> dict[str, Tensor]:
        """One step of both generators on images (N, C, H, W) in [-1, 1].

        Args:
            fakes: the result of `translate` for these images, if it is computed already.

        Returns:
            loss_gen_{adv, cyc_x, identity}_{a, b} and loss_gen_total.
        """
        self.gen_opt.zero_grad()   # the caller may have left gradients
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
            adv = self._generator_loss(getattr(self, f'dis_{a}'), fake)
            cyc_x = reconstruction_loss(self.into(a, x_there), x)
            identity = x.new_zeros(())
            if w['identity_w'] > 0:
                # An image of the target domain should not change, which preserves tints.
                identity = reconstruction_loss(self.into(a, x), x)
            losses.update({f'loss_gen_adv_{a}': adv, f'loss_gen_cyc_x_{a}': cyc_x, f'loss_gen_identity_{a}': identity})
            objective = objective + w['gan_w'] * adv + w['recon_x_cyc_w'] * cyc_x + w['identity_w'] * identity
        return losses, objective

    def dis_update(self, x_a: Tensor, x_b: Tensor, fakes=None) -> dict[str, Tensor]:
        """One step of both discriminators on real images (N, C, H, W) and on translations from the pools.

        Args:
            fakes: the result of `translate` for these images, if it is computed already.

        Returns:
            loss_dis_a, loss_dis_b, loss_dis_total.
        """
        self.dis_opt.zero_grad()   # the caller may have left gradients
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
        """The loss of the discriminator of domain `a`, halved, so that it learns more slowly than the generators
        (CycleGAN, section 7.1).
        """
        return 0.5 * self._discriminator_loss(getattr(self, f'dis_{a}'), real, fake)

    @torch.no_grad()
    def sample(self, x_a: Tensor, x_b: Tensor) -> tuple[Tensor, ...]:
        """Sample pictures for images (N, C, H, W) in [-1, 1], translated one at a time; dropout is on, as at test time.

        Returns:
            x_a, its translation, a second translation, and the cycle reconstruction of x_a; then the same four of x_b.
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
            pool.replaced = []   # swaps of updates that were called outside of `update`

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
    """CycleGAN* of the paper: both generators are U-Nets that also take noise N(0, 1), repeated at every pixel.

    The paper states neither the size of the noise nor how it is drawn for the cycle. Here it has 8 values, drawn
    independently for each call.
    """

    schema = CYCLEGAN_NOISE

    def _make_generator(self, input_dim: int, output_dim: int) -> nn.Module:
        return UNetGenerator(input_dim, output_dim, self.config['gen'], everywhere=False)

    @in_precision
    def into(self, a: str, images: Tensor) -> Tensor:
        """Translate images (N, C, H, W) with the generator of domain `a` and random noise."""
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

    The first half of a batch of pairs is translated twice: with the code of the pair's x_b (cVAE-GAN), and with a
    random code (cLR-GAN). Each has a discriminator, which sees images of B only. The real images of the first
    discriminator are those of the first half, the real images of the second those of the other half.
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
        """Translate images (N, C, H, W) of domain A with codes (N, noise_dim) to domain B."""
        return self.gen_b(x_a, code)

    def translate(self, x_a: Tensor, x_b: Tensor) -> dict[str, Tensor]:
        """Translate the first half of a batch (N, C, H, W), N even, with encoded and with random codes.

        Returns:
            x_encoded, x_random (N/2, C, H, W); mean and log_variance of the codes of the first half of x_b, and
            z_random, all (N/2, noise_dim).

        Raises:
            ValueError: the batch size is odd or 0.
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
            fakes: the result of `translate` for these images, if it is computed already.

        Returns:
            loss_gen_{adv, adv2, recon_x, kl, latent} and loss_gen_total.
        """
        self.gen_opt.zero_grad()   # the caller may have left gradients
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

        Generator and encoder take one step together, as in the later of the authors' two releases. The earlier one
        takes a separate step of the generator for the latent term.
        """
        w = self.config
        adv = self._generator_loss(self.dis_b, fakes['x_encoded'])
        adv2 = self._generator_loss(self.dis_b2, fakes['x_random'])
        recon_x = reconstruction_loss(fakes['x_encoded'], x_b[:len(x_b) // 2])
        kl = code_kl_loss(fakes['mean'], fakes['log_variance'])
        # The latent term does not train the encoder, which could learn to read codes that the generator hides.
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
            fakes: the result of `translate` for these images, if it is computed already.

        Returns:
            loss_dis_b, loss_dis_b2, loss_dis_total.
        """
        self.dis_opt.zero_grad()   # the caller may have left gradients
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
        """The loss of a discriminator on real images and translations (N, C, H, W)."""
        return self._discriminator_loss(dis, real, fake)

    @torch.no_grad()
    def sample(self, x_a: Tensor, x_b: Tensor) -> tuple[Tensor, ...]:
        """Sample pictures for pairs (N, C, H, W) in [-1, 1], translated one at a time and without dropout, as at test
        time.

        Returns:
            x_a, x_b, and translations of x_a with the code of x_b, with a code that is fixed for the run, and with a
            random code. There is nothing from B to A.
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
        return {'b': torch.cat([self.encode(b)[0] for b in x_b.split(1)])}   # means of the posteriors
