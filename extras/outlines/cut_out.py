"""Cut the main object of a photograph out of its background with OpenCV's GrabCut, and judge the result."""
from typing import NamedTuple

import numpy as np
from PIL import Image

from extras.outlines import INSTALL, MissingPackage, square

WORKING_SIZE = 192   # pixels; GrabCut takes seconds at full size and is no better
ROUNDS = 4
MARGIN = 0.02        # width of the border that is certainly background, as a share of the side
MIDDLE = (0.16, 0.22)      # half axes of the ellipse that is certainly object, as shares of the side
SMOOTHING = 5        # diameter of opening and closing, in working pixels
EDGE = 0.004         # standard deviation of the soft edge, as a share of the side


class Limits(NamedTuple):
    """The limits within which a cut-out is kept."""
    min_area: float = 0.25         # share of the square
    max_area: float = 0.75
    min_solidity: float = 0.72     # area / area of the convex hull
    min_symmetry: float = 0.78     # intersection over union with the mirror image about the centre of mass
    max_outline: float = 1.70      # length of the outline / length of the convex hull's
    max_contact: float = 0.25      # share of the outline that runs along the margin


class Measures(NamedTuple):
    area: float
    solidity: float
    symmetry: float
    outline: float
    contact: float

    def fault(self, limits: Limits) -> str:
        """Why this cut-out is rejected; '' if it is kept."""
        faults = (
            (self.area < limits.min_area, f'area {self.area:.3f} < {limits.min_area:g}'),
            (self.area > limits.max_area, f'area {self.area:.3f} > {limits.max_area:g}'),
            (self.contact > limits.max_contact, f'contact {self.contact:.3f} > {limits.max_contact:g}'),
            (self.solidity < limits.min_solidity, f'solidity {self.solidity:.3f} < {limits.min_solidity:g}'),
            (self.symmetry < limits.min_symmetry, f'symmetry {self.symmetry:.3f} < {limits.min_symmetry:g}'),
            (self.outline > limits.max_outline, f'outline {self.outline:.3f} > {limits.max_outline:g}'),
        )
        return next((text for is_fault, text in faults if is_fault), '')


def find_object(photograph: Image.Image) -> np.ndarray:
    """The object of a square RGB photograph as a boolean mask of WORKING_SIZE × WORKING_SIZE pixels.

    GrabCut starts from a middle that certainly is the object and a margin that certainly is not. The result is
    opened and closed, reduced to its largest part, and its holes are filled.
    """
    cv2 = _opencv()
    from scipy import ndimage
    pixels = np.ascontiguousarray(np.asarray(square(photograph.convert('RGB'), WORKING_SIZE))[..., ::-1])
    y, x = (np.mgrid[:WORKING_SIZE, :WORKING_SIZE] + 0.5) / WORKING_SIZE - 0.5
    mask = np.where(np.maximum(abs(x), abs(y)) < 0.38, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    mask[np.maximum(abs(x), abs(y)) > 0.5 - MARGIN] = cv2.GC_BGD
    mask[(x / MIDDLE[0]) ** 2 + (y / MIDDLE[1]) ** 2 < 1] = cv2.GC_FGD
    cv2.setRNGSeed(0)   # k-means initializes the colour mixtures; the seed makes every run give the same mask
    try:
        cv2.grabCut(pixels, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:   # no object left, as in a photograph of one colour
        return np.zeros(mask.shape, bool)
    found = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (SMOOTHING, SMOOTHING))
    found = cv2.morphologyEx(cv2.morphologyEx(found, cv2.MORPH_OPEN, disk), cv2.MORPH_CLOSE, disk)
    labels, parts = ndimage.label(found)
    if parts:
        found = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return ndimage.binary_fill_holes(found)


def measure(mask: np.ndarray) -> Measures:
    """The measures by which a cut-out is kept or rejected; all 0 for an empty mask."""
    cv2 = _opencv()
    if not mask.any():
        return Measures(0.0, 0.0, 0.0, 0.0, 0.0)
    side = len(mask)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contour = max(contours, key=len)
    hull = cv2.convexHull(contour)
    # The hull of pixel centres is half a pixel smaller on every side than that of the pixels.
    hull_length = cv2.arcLength(hull, True)
    hull_area = cv2.contourArea(hull) + hull_length / 2 + 1
    # Simplified to one pixel: a slanting edge is a staircase, which is longer than the edge.
    length = cv2.arcLength(cv2.approxPolyDP(contour, 1.0, True), True)
    places = contour[:, 0]
    near = np.minimum(places, side - 1 - places).min(axis=1) <= round(MARGIN * side) + 1
    columns = np.nonzero(mask)[1]
    mirrored = np.zeros_like(mask)
    there = np.rint(2 * columns.mean() - np.arange(side)).astype(int)
    inside = (there >= 0) & (there < side)
    mirrored[:, inside] = mask[:, there[inside]]
    return Measures(area=float(mask.mean()), solidity=min(1.0, float(mask.sum() / hull_area)),
                    symmetry=float((mask & mirrored).sum() / (mask | mirrored).sum()),
                    outline=float(length / max(hull_length, 1)), contact=float(near.mean()))


def lay_on_white(photograph: Image.Image, mask: np.ndarray) -> Image.Image:
    """A square photograph with everything outside `mask` white. The edge is soft and slightly inside the mask."""
    cv2 = _opencv()
    size = photograph.width
    alpha = cv2.resize(mask.astype(np.float32), (size, size),
                       interpolation=cv2.INTER_CUBIC if size > len(mask) else cv2.INTER_AREA)
    alpha = cv2.GaussianBlur(alpha, (0, 0), max(EDGE * size, 0.5))
    # Starting at 0.4 instead of 0 lets less of the background through at the edge.
    alpha = np.clip((alpha - 0.4) / 0.5, 0, 1)[..., None]
    pixels = np.asarray(photograph.convert('RGB'), np.float32)
    return Image.fromarray(np.rint(pixels * alpha + 255 * (1 - alpha)).astype(np.uint8))


def _opencv():
    try:
        import cv2
    except ImportError:
        raise MissingPackage(f'cutting out needs OpenCV: {INSTALL}') from None
    cv2.setNumThreads(1)   # photographs are already processed in parallel
    return cv2
