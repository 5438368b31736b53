"""Faster ways to compute what the networks define: the same sums in another order, checked against the plain layers.

Each function says what it replaces and what that saves; `networks.py` holds the definitions.
"""
import torch
import torch.nn.functional as F
from torch import Tensor


def reflect(x: Tensor, size: int) -> Tensor:
    """Pad (N, C, H, W) by reflection on all sides, with a gradient that is deterministic on a GPU.

    PyTorch's own layer accumulates this gradient with atomic additions on a GPU and raises in deterministic mode.
    """
    return _reflect_edges(_reflect_edges(x, size, axis=2), size, axis=3)


def _reflect_edges(x: Tensor, size: int, axis: int) -> Tensor:
    """Pad by reflection along one axis."""
    n = x.shape[axis]
    before, after = x.narrow(axis, 1, size), x.narrow(axis, n - 1 - size, size)
    return torch.cat([before.flip(axis), x, after.flip(axis)], dim=axis)


# ---------------------------------------------------------------------------------------------------------------------
# Convolutions
# ---------------------------------------------------------------------------------------------------------------------

def upsampling_taps() -> Tensor:
    """(2, 2, 3, 3, 5, 5): for each output phase and each tap of a 3×3 kernel, which of the 5×5 taps fall on that input
    pixel.
    """
    taps = torch.tensor([[[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]],
                         [[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1]]], dtype=torch.float32)
    return torch.einsum('pik,qjl->pqijkl', taps, taps)


def upsample_and_convolve(x: Tensor, weight: Tensor, bias: Tensor, taps: Tensor, pad_type: str) -> Tensor:
    """Nearest ×2 upsampling, padding by 2 and a 5×5 convolution: (N, C, H, W) -> (N, C', 2H, 2W).

    Among the 25 pixels that a kernel covers in the upsampled image only 9 differ. So each of the four output phases
    (even and odd rows, even and odd columns) is a 3×3 convolution of the input whose weights are sums of the 5×5 ones:
    the same sums in another order, with 9/25 of the multiplications.
    """
    phases = torch.einsum('pqijkl,ockl->opqcij', taps, weight).flatten(0, 2)
    differences = None
    if pad_type == 'zero':
        padded = F.pad(x, (1, 1, 1, 1))
    elif pad_type == 'replicate':
        padded = _repeat_edges(_repeat_edges(x, 1, axis=2), 1, axis=3)
    else:
        padded, *differences = ReflectedEdges.apply(x)
    y = F.conv2d(padded, phases, bias.repeat_interleave(4))
    if not differences:
        return F.pixel_shuffle(y, 2)
    # Under reflection the outer of the two padded rows repeats the second row of x, not the first: the outermost taps
    # add the difference in the first and the last row, and likewise for columns.
    of_rows, of_columns = differences
    return ShuffleWithEdges.apply(y, _border(of_rows, weight, 'reflect'),
                                  _border(of_columns, weight.mT, 'replicate').mT)


def _border(differences: Tensor, weight: Tensor, mode: str) -> Tensor:
    """What must be added to the first and the last row: (N, C', 2, 2W), from (N, 2C, W)."""
    outermost = weight[:, :, ::weight.shape[2] - 1].permute(2, 0, 1, 3).flatten(0, 1)           # (2C', C, 5)
    return F.conv1d(Doubled.apply(differences, mode), outermost, groups=2).unflatten(1, (2, -1)).transpose(1, 2)


class Doubled(torch.autograd.Function):
    """Nearest ×2 upsampling and padding by 2, by `mode` 'reflect' or 'replicate': (N, C, W) -> (N, C, 2W + 4).

    Its gradient is deterministic on a GPU, and takes a third of the operations of autograd's own.
    """

    @staticmethod
    def forward(ctx, x: Tensor, mode: str) -> Tensor:
        ctx.mode = mode
        return F.pad(x.repeat_interleave(2, dim=2), (2, 2), mode=mode)

    @staticmethod
    def backward(ctx, y: Tensor) -> tuple[Tensor, None]:
        width = y.shape[2] // 2 - 2
        pairs = y.unflatten(2, (-1, 2)).sum(3)
        x = pairs[:, :, 1:-1].clone()
        if ctx.mode == 'replicate':
            x[:, :, ::width - 1].add_(pairs[:, :, ::width + 1])
        else:   # the outer of the two repeats the second entry
            x[:, :, ::width - 1].add_(y[:, :, 1::2 * width + 1])
            x[:, :, 1].add_(y[:, :, 0])
            x[:, :, -2].add_(y[:, :, -1])
        return x, None


class ShuffleWithEdges(torch.autograd.Function):
    """F.pixel_shuffle(y, 2), (N, C, H, W), with something added to its first and last row (N, C, 2, W) and column
    (N, C, H, 2). Autograd's own gradient of such an addition copies the whole image.
    """

    @staticmethod
    def forward(ctx, y: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        y = F.pixel_shuffle(y, 2)
        y[:, :, ::y.shape[2] - 1].add_(rows)
        y[:, :, :, ::y.shape[3] - 1].add_(columns)
        return y

    @staticmethod
    def backward(ctx, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return F.pixel_unshuffle(y, 2), y[:, :, ::y.shape[2] - 1], y[:, :, :, ::y.shape[3] - 1]


class ReflectedEdges(torch.autograd.Function):
    """What `upsample_and_convolve` needs of an image that is to be padded by reflection: (N, C, H, W) -> the image
    padded by replication by 1, and how its second rows and columns differ from its outermost ones, (N, 2C, W) and
    (N, 2C, H).

    Autograd's own gradient would add up a whole image of zeros for each of these edges.
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = torch.cat([x[:, :, 1] - x[:, :, 0], x[:, :, -2] - x[:, :, -1]], dim=1)
        columns = torch.cat([x[:, :, :, 1] - x[:, :, :, 0], x[:, :, :, -2] - x[:, :, :, -1]], dim=1)
        return F.pad(x, (1, 1, 1, 1), mode='replicate'), rows, columns

    @staticmethod
    def backward(ctx, padded: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        height, width = padded.shape[2] - 2, padded.shape[3] - 2
        x = padded[:, :, 1:-1, 1:-1].clone(memory_format=torch.contiguous_format)
        x[:, :, ::height - 1].add_(padded[:, :, ::height + 1, 1:-1])
        x[:, :, :, ::width - 1].add_(padded[:, :, 1:-1, ::width + 1])
        x[:, :, ::height - 1, ::width - 1].add_(padded[:, :, ::height + 1, ::width + 1])
        rows = rows.unflatten(1, (2, -1)).transpose(1, 2)                                       # (N, C, 2, W)
        columns = columns.unflatten(1, (2, -1)).permute(0, 2, 3, 1)                             # (N, C, H, 2)
        x[:, :, ::height - 1].sub_(rows)
        x[:, :, :, ::width - 1].sub_(columns)
        for place, edge in ((1, 0), (-2, 1)):   # with a side of 2 or 3 these are outermost or the same
            x[:, :, place].add_(rows[:, :, edge])
            x[:, :, :, place].add_(columns[..., edge])
        return x


def _repeat_edges(x: Tensor, size: int, axis: int) -> Tensor:
    """Pad by replication along one axis. torch.compile mistakes the memory layout of the gradient of F.pad's own."""
    n = x.shape[axis]
    first, last = (x.narrow(axis, i, 1).expand(*x.shape[:axis], size, *x.shape[axis + 1:]) for i in (0, n - 1))
    return torch.cat([first, x, last], dim=axis)


def convolve_to_few_channels(padded: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 7×7 convolution to the few channels of an image, on a CPU: (N, C, H + 6, W + 6) -> (N, C', H, W), H, W even.

    A CPU computes 16 channels as fast as 3. So four pixels are computed as one pixel of 4·C' channels: an 8×8
    convolution with stride 2 whose weights are the 7×7 ones at four offsets, padded with zeros.
    """
    offsets = [(right, 1 - right, down, 1 - down) for down in (0, 1) for right in (0, 1)]
    four = torch.stack([F.pad(weight, offset) for offset in offsets], dim=1)
    # With channels last, the gradient of so few channels takes half the time.
    padded = padded.contiguous(memory_format=torch.channels_last)
    y = F.conv2d(padded, four.flatten(0, 1), bias.repeat_interleave(4), stride=2)
    return F.pixel_shuffle(y, 2).contiguous()


# ---------------------------------------------------------------------------------------------------------------------
# Norms
# ---------------------------------------------------------------------------------------------------------------------

def normalize_planes(x: Tensor, scale: Tensor | None, shift: Tensor | None, eps: float) -> Tensor:
    """(x − mean) / √(variance + eps) over H×W of each sample's each channel; `scale` and `shift` (N·C), or neither."""
    n, c, h, w = x.shape
    # With the samples as channels, one kernel normalises them all. Group norm's takes a quarter of the time on a CPU;
    # elsewhere batch norm's is the one that cuDNN implements, and its sums stay in 32 bits under bfloat16.
    planes = x.reshape(1, n * c, h, w)
    if x.device.type == 'cpu':
        planes = F.group_norm(planes, n * c, scale, shift, eps)
    else:
        planes = F.batch_norm(planes, None, None, scale, shift, training=True, eps=eps)
    # Unlike `view`, it lets an activation work in place: in a view, that would copy the features back and forth.
    return torch.ops.aten._unsafe_view(planes, (n, c, h, w))


class LayerNorm(torch.autograd.Function):
    """`networks.LayerNorm` with its gradient written out: autograd's own reads the features twice as often, which costs
    2 to 3 % of an update on a CPU.
    """

    @staticmethod
    def forward(ctx, x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> Tensor:
        std, mean = _std_mean(x)
        divisor = std + eps
        ctx.save_for_backward(x, gamma, std, mean, divisor)
        scale = gamma / divisor
        shift = torch.addcmul(beta, mean, scale, value=-1)
        return torch.addcmul(shift[:, :, None, None], x, scale[:, :, None, None])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, gamma, std, mean, divisor = ctx.saved_tensors
        count = x[0].numel()
        scale = 1 / divisor                                                # (N, 1)
        to_shift = gradient.sum((2, 3))                                    # (N, C), of the channels' sums
        to_scale = torch.addcmul((gradient * x).sum((2, 3)), mean, to_shift, value=-1)
        # Each feature also acts on all others through mean and deviation: per sample, a linear function of x.
        through_std, through_mean = (torch.stack([to_scale, to_shift]) * gamma).sum(2, keepdim=True) * scale
        slope = through_std * scale / ((1 - count) * std)
        slope = slope.masked_fill(std <= 1e-12, 0)                         # a constant sample: 0, as autograd gives
        offset = torch.addcmul(through_mean / -count, slope, mean, value=-1)
        to_x = torch.addcmul(offset[:, :, None, None], x, slope[:, :, None, None])
        to_x.addcmul_(gradient, (gamma * scale)[:, :, None, None])
        return to_x, (to_scale * scale).sum(0), to_shift.sum(0), None


def _std_mean(x: Tensor) -> tuple[Tensor, Tensor]:
    """Unbiased deviation and mean over C×H×W of each sample (N, C, H, W), as (N, 1) each."""
    if x.device.type != 'cpu':
        std, mean = torch.std_mean(x.flatten(1), dim=1, keepdim=True)
        return std, mean
    # On a CPU std_mean is not vectorised; the kernel of group norm computes the same in a fifth of the time.
    n, c, h, w = x.shape
    _, mean, inverse = torch.native_group_norm(x, None, None, n, c, h * w, 1, 1e-30)
    return (c * h * w / (c * h * w - 1)) ** 0.5 / inverse, mean
