"""Colours of decoded video frames: which matrix they were coded with, and HDR to SDR.

Numbers of matrices, transfer functions and primaries are those of ITU-T H.273, which FFmpeg uses as well.
"""
import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import av

HD_HEIGHT = 720                       # from this height on, players assume BT.709 where a file does not say
BT709, BT601, UNSPECIFIED = 1, 6, 2
BT2020, PQ, HLG = 9, 16, 18           # primaries; transfer functions
GRAPHICS_WHITE, PEAK = 203.0, 1000.0  # cd/m²: a white sheet in HDR (BT.2408), and the brightest of an HLG display
KNEE = 0.8                            # of graphics white: brighter tones share what is left up to SDR's white
# From the primaries of BT.2020 to those of BT.709, in linear light (BT.2087).
TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)
LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)   # of BT.2020


def assumed_matrix(frame: 'av.VideoFrame') -> int:
    """The matrix of a frame that has no tag for it, as players assume it; 0 where it has a tag, or needs none."""
    is_yuv = any(component.is_luma for component in frame.format.components) and len(frame.format.components) >= 3
    if not is_yuv or int(frame.colorspace) != UNSPECIFIED:
        return 0
    return BT709 if frame.height >= HD_HEIGHT else BT601


def describe(frame: 'av.VideoFrame') -> str:
    """What `to_rgb` does with the colours of a frame beyond what its tags say, a line for the user; '' if nothing."""
    if is_hdr(frame):
        kind = 'PQ' if _transfer(frame) == PQ else 'HLG'
        return f'HDR ({kind}): converted to the range of SDR; highlights are compressed'
    if not hasattr(frame, 'color_trc') and any(component.bits > 8 for component in frame.format.components):
        return ('more than 8 bits, read as SDR: this version of PyAV does not say whether it is HDR; '
                'pip install --upgrade av')
    if matrix := assumed_matrix(frame):
        name = 'BT.709, as players do from 720 lines on' if matrix == BT709 else 'BT.601, as players do below 720 lines'
        return f'the file does not say how its colours are coded: read as {name}'
    return ''


def is_hdr(frame: 'av.VideoFrame') -> bool:
    """Whether a frame is coded for displays that are brighter than SDR."""
    return _transfer(frame) in (PQ, HLG)


def _transfer(frame: 'av.VideoFrame') -> int:
    return int(getattr(frame, 'color_trc', UNSPECIFIED))   # older PyAV does not say


def to_rgb(frame: 'av.VideoFrame') -> np.ndarray:
    """The pixels (H, W, 3) of a decoded frame, uint8, for an SDR display."""
    if is_hdr(frame):
        return to_sdr(frame.reformat(format='rgb48le').to_ndarray(), _transfer(frame))
    matrix = assumed_matrix(frame)
    return frame.reformat(format='rgb24', src_colorspace=matrix or None).to_ndarray()


def to_sdr(signal: np.ndarray, transfer: int) -> np.ndarray:
    """HDR to SDR: graphics white becomes nearly white, and what is brighter is compressed smoothly above it.

    Args:
        signal: R'G'B' (H, W, 3) with the primaries of BT.2020, uint16 over the whole range.
        transfer: PQ or HLG.

    Returns:
        R'G'B' (H, W, 3) with the primaries of BT.709 and the curve of sRGB, uint8.
    """
    light = _table(transfer)[signal >> 4]                    # linear; PQ: of the display, HLG: of the scene
    if transfer == HLG:                                      # the display's system gamma (BT.2100)
        light = light * np.maximum(light @ LUMINANCE, 1e-6)[..., None] ** 0.2 * PEAK
    light = np.maximum(light @ TO_BT709.T, 0) / GRAPHICS_WHITE
    brightest = light.max(-1, keepdims=True)
    light *= _compressed(brightest) / np.maximum(brightest, 1e-6)   # one factor for all three: hues stay
    return (_srgb(light) * 255 + 0.5).astype(np.uint8)


@functools.cache
def _table(transfer: int) -> np.ndarray:
    """Light of each signal of 12 bits: cd/m² of the display for PQ (SMPTE ST 2084), 0 to 1 of the scene for HLG."""
    signal = np.arange(4096, dtype=np.float64) / 4095
    if transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return np.where(signal <= 0.5, signal ** 2 / 3, (np.exp((signal - c) / a) + b) / 12).astype(np.float32)
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = signal ** (1 / m2)
    return (10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)).astype(np.float32)


def _compressed(light: np.ndarray) -> np.ndarray:
    """Light in units of graphics white -> 0 to 1: unchanged up to KNEE, then ever flatter, and 1 from PEAK on."""
    above = np.clip((light - KNEE) / (PEAK / GRAPHICS_WHITE - KNEE), 0, 1)
    slope = (PEAK / GRAPHICS_WHITE - KNEE) / (1 - KNEE)   # at the knee, so that the curve has no edge there
    return np.where(light <= KNEE, light, KNEE + (1 - KNEE) * slope * above / (1 + (slope - 1) * above))


def _srgb(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-6) ** (1 / 2.4) - 0.055).clip(0, 1)
