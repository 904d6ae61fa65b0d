"""Reading a picture file as MATLAB's imread reads it, or refusing it by name.

| file | here | MATLAB's imread |
|---|---|---|
| JPEG, PNG, BMP... RGB or grey, 8 bits | RGB (grey: three equal channels, as every original makes it) | the same |
| EXIF orientation | ignored | ignored (AutoOrient is off by default); PIL-based originals ignore it too |
| palette | its colours | the bare index numbers, from which the originals would make a wrong grey image |
| alpha, or a transparent colour | composed over black | composed over the file's background colour, else black |
| 1 bit | 0 and 255 | 0 and 1 |
| several frames | the first | the first |
| CMYK, YCCK, Lab | refused | four numbers a pixel, on which rgb2gray fails |
| 16 bits, 32 bits, float | refused | values up to 65535, from which 104 / 117 / 123 would be subtracted |
| empty, truncated, no picture | refused | refused |

Damage in the middle of a JPEG that leaves its structure whole gives wrong pixels and no error: the format has no
checksum, and MATLAB only warns. The libjpeg-turbo inside Pillow decodes with the accurate integer DCT and smooth chroma upsampling, as libjpeg 6b does.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

__all__ = ["ImageError", "decode"]

_RGB_LIKE = ("RGB", "L", "1", "P", "RGBX")
_WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_PNG = b"\x89PNG\r\n\x1a\n"
_REFUSED = {"CMYK": "four-colour (CMYK)", "YCbCr": "undecoded YCbCr", "LAB": "Lab", "HSV": "HSV"}


class ImageError(ValueError):
    """A picture that cannot be used. `path` is the file; the message names it and the reason.

    Out of a worker process of torch's DataLoader it comes with that process's traceback as its message, whose last line is
    the original one, and with `path` and `reason` None: torch makes it anew from its text alone.
    """

    def __init__(self, path: object, reason: str | None = None) -> None:
        super().__init__(path if reason is None else f"{path}: {reason}")
        self.path = None if reason is None else path
        self.reason = reason

    def __reduce__(self):  # other pools send their errors through pickle
        return (type(self), self.args if self.reason is None else (self.path, self.reason))


def _check_png(data: bytes, path: object) -> None:
    """What Pillow lets pass: 16-bit RGB (it drops the low bytes without a word) and damaged pixel data."""
    if len(data) > 24 and data[24] == 16:
        raise ImageError(path, "16 bits a channel; convert the picture to 8 bits first")
    with Image.open(io.BytesIO(data)) as picture:
        picture.verify()  # the chunks' checksums


def _check_size(picture: Image.Image, size: int, path: object) -> None:
    """A few kB may not claim the memory of a poster; a photograph has at most 8 pixels a byte, a drawing is small."""
    pixels = picture.width * picture.height
    if pixels > max(16_000_000, 8 * size):
        raise ImageError(
            path, f"implausibly large picture ({picture.width} x {picture.height} pixels in {size:,} bytes)"
        )


def _rgb(picture: Image.Image, path: object) -> Image.Image:
    mode = picture.mode
    if mode == "RGB":
        return picture
    if mode in _WITH_ALPHA or (mode in _RGB_LIKE and "transparency" in picture.info):
        rgba = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
    if mode in _RGB_LIKE:
        return picture.convert("RGB")
    if mode.startswith(("I", "F")):
        raise ImageError(path, f"more than 8 bits a channel (mode {mode}); convert the picture to 8 bits first")
    kind = _REFUSED.get(mode, f"colour mode {mode}")
    raise ImageError(path, f"{kind} picture; convert it to RGB first")


def decode(path: str | os.PathLike[str], *, sha256: bytes | None = None, writeable: bool = True) -> NDArray[Any]:
    """Read a picture file: uint8 RGB (H, W, 3), a fresh array. The table above says what becomes of what.

    Args:
        sha256: what the file is known to be; 32 bytes.
        writeable: False saves one copy of the pixels, and the array can't be written into.

    Raises:
        ImageError: missing, empty, truncated, corrupt or unsupported file, or another one than `sha256` says; the message
            starts with the path.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(path, f"cannot be read ({error.strerror or error})") from error
    if not data:
        raise ImageError(path, "the file is empty (0 bytes)")
    if sha256 is not None and (found := hashlib.sha256(data)).digest() != sha256:
        raise ImageError(
            path, f"the file has changed: its sha256 is {found.hexdigest()[:16]}, it was {sha256.hex()[:16]}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if data.startswith(_PNG):
                _check_png(data, path)
            with Image.open(io.BytesIO(data)) as picture:
                _check_size(picture, len(data), path)
                return (np.array if writeable else np.asarray)(_rgb(picture, path))
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise ImageError(path, "not a picture, or a format that Pillow does not know") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(path, f"implausibly large picture ({error})") from error
    except Exception as error:
        # Pillow's decoders raise a dozen kinds for damaged data: OSError, ValueError, SyntaxError, RuntimeError, MemoryError ...
        raise ImageError(path, f"corrupt or truncated picture ({error})") from error
