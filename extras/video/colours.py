"""Convert decoded video frames to RGB: choose the YUV matrix and tone-map HDR to SDR.

Matrices, transfer functions and primaries have the numbers of ITU-T H.273, which FFmpeg uses as well.
"""
import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import av

HD_HEIGHT = 720                       # players assume BT.709 for untagged videos of at least this height
BT709, BT601, UNSPECIFIED = 1, 6, 2
BT2020, PQ, HLG = 9, 16, 18           # primaries; transfer functions
GRAPHICS_WHITE, PEAK = 203.0, 1000.0  # cd/m²: diffuse white in HDR (BT.2408), and the peak of the reference HLG display
KNEE = 0.8                            # relative to graphics white; tone mapping compresses only brighter values
# From BT.2020 to BT.709 primaries, in linear light (BT.2087).
TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)
LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)   # coefficients of BT.2020


def assumed_matrix(frame: 'av.VideoFrame') -> int:
    """Return the matrix that players assume for an untagged YUV frame, or 0 if the frame has a tag or is not YUV."""
    is_yuv = any(component.is_luma for component in frame.format.components) and len(frame.format.components) >= 3
    if not is_yuv or int(frame.colorspace) != UNSPECIFIED:
        return 0
    return BT709 if frame.height >= HD_HEIGHT else BT601


def colour_note(frame: 'av.VideoFrame') -> str:
    """Return a line for the user if `to_rgb` assumes a matrix or tone-maps the frame, else an empty string."""
    if is_hdr(frame):
        kind = 'PQ' if _transfer(frame) == PQ else 'HLG'
        return f'HDR ({kind}): tone-mapped to SDR; highlights are compressed'
    if not hasattr(frame, 'color_trc') and any(component.bits > 8 for component in frame.format.components):
        return ('more than 8 bits, read as SDR: this version of PyAV does not say whether it is HDR; '
                'pip install --upgrade av')
    if matrix := assumed_matrix(frame):
        name, heights = ('BT.709', 'of at least') if matrix == BT709 else ('BT.601', 'of less than')
        return f'no colour tags: read as {name}, as players do for videos {heights} {HD_HEIGHT} lines'
    return ''


def is_hdr(frame: 'av.VideoFrame') -> bool:
    """Return whether a frame is HDR, that is, has a PQ or HLG transfer function."""
    return _transfer(frame) in (PQ, HLG)


def _transfer(frame: 'av.VideoFrame') -> int:
    return int(getattr(frame, 'color_trc', UNSPECIFIED))   # older versions of PyAV lack this attribute


def to_rgb(frame: 'av.VideoFrame') -> np.ndarray:
    """Convert a decoded frame to SDR pixels (H, W, 3), uint8, RGB."""
    if is_hdr(frame):
        return to_sdr(frame.reformat(format='rgb48le').to_ndarray(), _transfer(frame))
    matrix = assumed_matrix(frame)
    return frame.reformat(format='rgb24', src_colorspace=matrix or None).to_ndarray()


def to_sdr(signal: np.ndarray, transfer: int) -> np.ndarray:
    """Tone-map HDR to SDR. Graphics white becomes almost white; brighter values are compressed smoothly above it.

    Args:
        signal: R'G'B' (H, W, 3) with BT.2020 primaries, uint16, full range.
        transfer: PQ or HLG.

    Returns:
        R'G'B' (H, W, 3) with BT.709 primaries and the sRGB transfer function, uint8.
    """
    light = _linear_light(transfer)[signal >> 4]    # of the display for PQ, of the scene for HLG
    if transfer == HLG:                             # scene to display: the system gamma of BT.2100
        light = light * np.maximum(light @ LUMINANCE, 1e-6)[..., None] ** 0.2 * PEAK
    light = np.maximum(light @ TO_BT709.T, 0) / GRAPHICS_WHITE
    brightest = light.max(-1, keepdims=True)
    light *= _compress(brightest) / np.maximum(brightest, 1e-6)   # one factor for all channels preserves hue
    return (_encode_srgb(light) * 255 + 0.5).astype(np.uint8)


@functools.cache
def _linear_light(transfer: int) -> np.ndarray:
    """Return a table (4096,) of the linear light of each 12-bit signal value.

    The unit is cd/m² of the display for PQ (SMPTE ST 2084), and scene light in [0, 1] for HLG.
    """
    signal = np.arange(4096, dtype=np.float64) / 4095
    if transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return np.where(signal <= 0.5, signal ** 2 / 3, (np.exp((signal - c) / a) + b) / 12).astype(np.float32)
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = signal ** (1 / m2)
    return (10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)).astype(np.float32)


def _compress(light: np.ndarray) -> np.ndarray:
    """Map light relative to graphics white to [0, 1]: unchanged up to KNEE, then concave, and 1 from PEAK on."""
    above = np.clip((light - KNEE) / (PEAK / GRAPHICS_WHITE - KNEE), 0, 1)
    slope = (PEAK / GRAPHICS_WHITE - KNEE) / (1 - KNEE)   # makes the derivative continuous at the knee
    return np.where(light <= KNEE, light, KNEE + (1 - KNEE) * slope * above / (1 + (slope - 1) * above))


def _encode_srgb(light: np.ndarray) -> np.ndarray:
    """Apply the sRGB transfer function to linear light; the result is in [0, 1]."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-6) ** (1 / 2.4) - 0.055).clip(0, 1)
