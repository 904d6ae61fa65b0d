"""MATLAB's image functions and random stream, as the RLL and OSM releases use them.

Images are arrays (rows, columns) or (rows, columns, channels). Classes are kept as MATLAB keeps them: `uint8` in,
`uint8` out, rounded half up and clipped; `float32` ("single") and `float64` ("double") are neither rounded nor clipped.
Coordinates of MATLAB calls (`imcrop`) stay 1-based, so that numbers of the original scripts can be used as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["RandStream", "flip", "imcrop", "imresize", "padarray", "rgb2gray", "round_half_away"]

# MathWorks' documented rgb2gray row. Octave 7.3 rounds it to six decimals; both give the same 2,704 recorded values.
GRAY_WEIGHTS = (0.298936021293775, 0.587043074451121, 0.114020904255103)

_CLASSES = ("uint8", "float32", "float64")


def _cubic(x: NDArray[Any]) -> NDArray[Any]:
    """Cubic convolution kernel (Keys 1981), a = -0.5, support [-2, 2]."""
    a = np.abs(x)
    inner = (1.5 * a - 2.5) * a**2 + 1
    outer = ((-0.5 * a + 2.5) * a - 4) * a + 2
    return np.where(a <= 1, inner, np.where(a <= 2, outer, 0.0))


def _triangle(x: NDArray[Any]) -> NDArray[Any]:
    return np.maximum(0.0, 1 - np.abs(x))


_KERNELS: dict[str, tuple[Callable[[NDArray[Any]], NDArray[Any]], float]] = {
    "bicubic": (_cubic, 4.0),
    "cubic": (_cubic, 4.0),
    "bilinear": (_triangle, 2.0),
    "triangle": (_triangle, 2.0),
}


@lru_cache(maxsize=1024)
def resize_weights(
    n_in: int, n_out: int, scale: float, method: str = "bicubic", antialiasing: bool = True, dtype: str = "float64"
) -> sparse.csr_matrix:
    """Weights of one resize pass as a sparse (n_out, n_in) matrix; cached, so treat it as read-only.

    Row i holds the taps of output pixel i in ascending input position, mirrored positions as repeated entries. A
    product with it therefore adds in one fixed order, and the result does not depend on BLAS or its threads.
    """
    kernel, width = _KERNELS[method]
    # When shrinking, the kernel is stretched into a low-pass filter.
    squeeze = scale if antialiasing and scale < 1 else 1.0
    width /= squeeze
    centre = np.arange(1, n_out + 1) / scale + 0.5 * (1 - 1 / scale)  # 1-based input position of each output pixel
    left = np.floor(centre - width / 2)
    position = left[:, None] + np.arange(math.ceil(width) + 2)
    weights = squeeze * kernel(squeeze * (centre[:, None] - position))
    weights /= weights.sum(axis=1, keepdims=True)
    # MATLAB mirrors with the edge pixel repeated (... 2 1 | 1 2 ... n | n n-1 ...). Renormalising the taps that are
    # left, as PIL and torch do, moves the outer 6 pixels of a half-size picture by up to 5 grey levels.
    folded = np.mod(position.astype(np.int64) - 1, 2 * n_in)
    index = np.where(folded < n_in, folded, 2 * n_in - 1 - folded)
    used = weights.any(axis=0)
    weights, index = weights[:, used], index[:, used]
    taps = weights.shape[1]
    pointer = np.arange(0, n_out * taps + 1, taps, dtype=np.int32)
    data = weights.ravel().astype(dtype)
    return sparse.csr_matrix((data, index.ravel().astype(np.int32), pointer), shape=(n_out, n_in))


def output_size(
    shape: Sequence[int], size: float | Sequence[float | None], *, name: str = "size"
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Output (rows, columns) and the two scales for MATLAB's three forms: scale, [rows columns], one of them NaN/None.

    With one NaN both dimensions get the *same* scale, and the free side is rounded up; [rows columns] written out gives
    each dimension its own scale and therefore other weights.
    """
    rows, columns = int(shape[0]), int(shape[1])
    if rows < 1 or columns < 1:
        raise ValueError(f"imresize: the image is empty (shape {tuple(shape)})")
    if isinstance(size, (int, float, np.integer, np.floating)):
        scale = float(size)
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"imresize: scale {size!r} must be a positive finite number")
        return (math.ceil(scale * rows), math.ceil(scale * columns)), (scale, scale)
    given = [None if v is None or math.isnan(v) else int(v) for v in size]
    if len(given) != 2 or all(v is None for v in given) or any(v is not None and v < 1 for v in given):
        raise ValueError(f"imresize: {name} {list(size)!r} must be two positive numbers, at most one of them NaN/None")
    if given[1] is None:
        scale = float(given[0]) / rows  # type: ignore[arg-type]
        return (int(given[0]), math.ceil(scale * columns)), (scale, scale)  # type: ignore[arg-type]
    if given[0] is None:
        scale = float(given[1]) / columns
        return (math.ceil(scale * rows), given[1]), (scale, scale)
    return (given[0], given[1]), (given[0] / rows, given[1] / columns)


@lru_cache(maxsize=1024)
def _in_single(n_in: int, n_out: int, scale: float, method: str, antialiasing: bool) -> tuple[sparse.csr_matrix, float]:
    """`resize_weights` rounded to float32, and how far its product with grey levels can then be from the float64 one.

    A sum of t terms, each a product of two numbers of which one was rounded before, is off by at most (t + 1) units of
    rounding of the sum of absolute terms, one more for the half that is added; float64's own 1e-12 is far below that.
    """
    matrix = resize_weights(n_in, n_out, scale, method, antialiasing)
    taps = matrix.indptr[1]
    absolute = 255 * float(np.abs(matrix.data).reshape(n_out, taps).sum(axis=1).max())
    single = sparse.csr_matrix((matrix.data.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)
    return single, (taps + 2) * 2.0**-24 * absolute * 1.01 + 2.0**-24 * 256


def _levels(matrix: sparse.csr_matrix, single: sparse.csr_matrix, bound: float, flat: NDArray[Any]) -> NDArray[Any]:
    """One pass over grey levels (n_in, K), float32 holding whole numbers: float64's sums, rounded half up and clipped.

    Computed in float32. Where that lies within `bound` of a half, and rounding could go the other way, the sum is made again
    in float64, term after term as the sparse product adds them; of a picture with many halves, all sums.
    """
    out = single @ flat
    out += np.float32(0.5)
    whole = np.floor(out)
    out -= whole
    out -= np.float32(0.5)
    unsure = np.abs(out, out=out) >= np.float32(0.5 - bound)
    if (count := np.count_nonzero(unsure)) > out.size // 16:
        return np.clip(np.floor(matrix @ flat.astype(np.float64) + 0.5), 0, 255).astype(np.float32)
    if count:
        row, column = np.divmod(np.flatnonzero(unsure), out.shape[1])
        taps = matrix.indptr[1]
        total = np.zeros(count)
        for tap in range(taps):
            at = row * taps + tap
            total += matrix.data[at] * flat[matrix.indices[at], column].astype(np.float64)
        whole[row, column] = np.floor(total + 0.5)
    return np.clip(whole, 0, 255, out=whole)


def imresize(
    image: NDArray[Any], size: float | Sequence[float | None], method: str = "bicubic", *, antialiasing: bool = True
) -> NDArray[Any]:
    """MATLAB's imresize.

    Args:
        image: (H, W) or (H, W, C) of class uint8, float32 or float64.
        size: a scale, or (rows, columns) where one may be NaN or None.
        method: "bicubic" (MATLAB's default) or "bilinear".
        antialiasing: widen the kernel when shrinking (MATLAB's default).

    The dimension with the smaller scale goes first, rows on a tie. uint8 is rounded half up after *each* of the two
    passes (rounding once at the end changes some 14 % of the pixels). Double equals MATLAB-made outputs to 1e-13.
    For single no MATLAB output is known to us: weights, sums and the result between the passes are held in single,
    within 2e-4 grey levels of the double result.

    Raises:
        TypeError: another class. ValueError: unknown method, empty image, bad size.
    """
    image = np.asarray(image)
    if image.dtype.name not in _CLASSES:
        raise TypeError(f"imresize: class {image.dtype.name} is not supported (only {', '.join(_CLASSES)})")
    if image.ndim not in (2, 3):
        raise ValueError(f"imresize: expected (H, W) or (H, W, C), got shape {image.shape}")
    if method not in _KERNELS:
        raise ValueError(f"imresize: unknown method {method!r} (known: {', '.join(_KERNELS)})")
    out_shape, scales = output_size(image.shape, size)
    to_uint8 = image.dtype == np.uint8
    work = image.astype(np.float32) if to_uint8 else image
    cube: NDArray[Any] = work.reshape(work.shape[0], work.shape[1], -1)
    for axis in (0, 1) if scales[0] <= scales[1] else (1, 0):
        n_in, n_out, scale = cube.shape[axis], out_shape[axis], scales[axis]
        if n_in == n_out and scale == 1:
            continue
        front = cube if axis == 0 else cube.transpose(1, 2, 0)
        flat: NDArray[Any] = np.ascontiguousarray(front).reshape(n_in, -1)
        how = (n_in, n_out, scale, method, antialiasing)
        if to_uint8:
            flat = _levels(resize_weights(*how), *_in_single(*how), flat)
        else:
            flat = resize_weights(*how, work.dtype.name) @ flat
        made = flat.reshape(n_out, *front.shape[1:])
        cube = made if axis == 0 else made.transpose(2, 0, 1)
    if image.ndim == 2:
        cube = cube[:, :, 0]
    return np.array(cube, dtype=image.dtype, order="C")  # a fresh array also where nothing was resized


def round_half_away(x: float) -> int:
    """MATLAB's `round` for a scalar: halves go away from zero (Python's round goes to the even neighbour)."""
    return math.floor(x + 0.5) if x >= 0 else -math.floor(-x + 0.5)


def imcrop(image: NDArray[Any], rect: Sequence[float]) -> NDArray[Any]:
    """MATLAB's `imcrop(image, [xmin ymin width height])`, 1-based, a view of the input.

    The rectangle spans pixel *centres*, so a whole-numbered one covers width + 1 columns and height + 1 rows; both
    corners are rounded (halves away from zero) and clipped to the image. A rectangle beside the image gives an
    empty array, as MATLAB does.
    """
    if len(rect) != 4 or not all(math.isfinite(v) for v in rect):
        raise ValueError(f"imcrop: rectangle {list(rect)!r} must be four finite numbers [xmin ymin width height]")
    x, y, width, height = (float(v) for v in rect)
    top, bottom = round_half_away(y), round_half_away(y + height)
    left, right = round_half_away(x), round_half_away(x + width)
    if width < 0 or height < 0 or top > image.shape[0] or left > image.shape[1] or bottom < 1 or right < 1:
        return image[:0, :0]
    return image[max(top, 1) - 1 : min(bottom, image.shape[0]), max(left, 1) - 1 : min(right, image.shape[1])]


def rgb2gray(image: NDArray[Any]) -> NDArray[Any]:
    """MATLAB's rgb2gray of a uint8 image (H, W, 3) -> (H, W), rounded half up."""
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"rgb2gray: expected uint8 (H, W, 3), got {image.dtype.name} {image.shape}")
    red, green, blue = GRAY_WEIGHTS
    gray = red * image[..., 0] + green * image[..., 1] + blue * image[..., 2]
    return np.floor(gray + 0.5).astype(np.uint8)


def padarray(image: NDArray[Any], pad: Sequence[int], value: float = 0, direction: str = "both") -> NDArray[Any]:
    """MATLAB's `padarray(image, pad, value, direction)`; pad per dimension, direction "pre", "post" or "both"."""
    if direction not in ("pre", "post", "both"):
        raise ValueError(f'padarray: direction {direction!r} must be "pre", "post" or "both"')
    if len(pad) > image.ndim or any(p < 0 for p in pad):
        raise ValueError(f"padarray: pad {list(pad)!r} does not fit an array of shape {image.shape}")
    full = [*pad, *([0] * (image.ndim - len(pad)))]
    widths = [(p if direction != "post" else 0, p if direction != "pre" else 0) for p in full]
    return np.pad(image, widths, constant_values=value)


def flip(image: NDArray[Any], dim: int) -> NDArray[Any]:
    """MATLAB's `flip(image, dim)` with its 1-based dimension (2 mirrors left and right); a view."""
    if not 1 <= dim <= image.ndim:
        raise ValueError(f"flip: dimension {dim} of an array with {image.ndim} dimensions")
    return np.flip(image, dim - 1)


class RandStream:
    """MATLAB's global stream after `rng(seed)` or `rng(seed, "twister")`: MT19937 with 53-bit doubles.

    `random()` makes it usable wherever a NumPy generator's `random()` is expected.
    """

    def __init__(self, seed: int = 0) -> None:
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**32:
            raise ValueError(f"RandStream: seed {seed!r} must be an integer in [0, 2^32)")
        # rng(0) is rng("default"), which MATLAB seeds with the generator's own default of 5489.
        self._mt = np.random.RandomState(int(seed) if seed else 5489)

    def random(self) -> float:
        """One double in the open interval (0, 1), MATLAB's `rand`."""
        value = self._mt.random_sample()
        while value == 0.0:  # MATLAB's interval is open; one draw in 2^53
            value = self._mt.random_sample()
        return value

    def rand(self, *size: int) -> NDArray[Any]:
        """MATLAB's `rand(n, m, ...)`: filled down the columns first. One argument gives n x n, as in MATLAB."""
        shape = size * 2 if len(size) == 1 else (size or (1, 1))
        return np.array([self.random() for _ in range(math.prod(shape))]).reshape(shape, order="F")

    def randperm(self, n: int) -> NDArray[Any]:
        """MATLAB's `randperm(n)`, 1-based: the order that sorts n draws of `rand`.

        Equal to MathWorks' documented outputs for rng("default") and to a published one for rng(42) (R2017b). The
        two-argument form `randperm(n, k)` is another algorithm, which MathWorks does not publish; it is not offered.
        """
        draws = np.array([self.random() for _ in range(int(n))])
        return np.argsort(draws, kind="stable") + 1

    def state_dict(self) -> dict[str, Any]:
        """JSON-able state; `load_state_dict` continues exactly after it."""
        _, key, position, _, _ = self._mt.get_state(legacy=True)
        return {"key": [int(v) for v in key], "position": int(position)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._mt.set_state(("MT19937", np.array(state["key"], dtype=np.uint32), int(state["position"]), 0, 0.0))
