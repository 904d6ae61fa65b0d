"""What must be done to an image before a set of weights means anything, as data that travels with the weights."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

#: Key under which a description is kept in safetensors and ONNX metadata.
METADATA_KEY = "preprocessing"


@dataclass(frozen=True)
class Preprocessing:
    """From a decoded image to a net's input blob (N, 3, size, size).

    channel_order: "BGR" or "RGB", the order of the planes and of `mean` and `std`.
    value_range: range of a pixel before the mean is subtracted; (0, 255) for every net of Caffe's lineage.
    mean, std: input = (pixel - mean) / std.
    size: side of the crop that the net sees, pixels.
    resize: how the image reaches `resize_size` before the crop: "stretch" (both sides), "shorter_side", or
        "longer_side_pad" (the longer side; the shorter one is padded with 255).
    kernel: "matlab_bicubic" (imresize: cubic a = -0.5, antialiased) or "pil_bilinear" (antialiased).
    source: where these facts come from.
    """

    channel_order: str
    value_range: tuple[float, float]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: int
    resize_size: int
    resize: str
    kernel: str
    source: str

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """Raises ValueError when a field is missing, unknown or no list where one is due."""
        try:
            fields = json.loads(text)
            fields = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
            return cls(**fields)
        except (TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"not a preprocessing description ({error}): {text[:80]!r}") from None


_RLL = Preprocessing(
    channel_order="BGR",
    value_range=(0.0, 255.0),
    mean=(104.0, 117.0, 123.0),
    std=(1.0, 1.0, 1.0),
    size=227,
    resize_size=256,
    resize="longer_side_pad",
    kernel="matlab_bicubic",
    source="Ranked List Loss, CVPR 2019: process_ori_image_aug_v02.m (before it, a crop to the non-white region)",
)

PREPROCESSING: dict[str, Preprocessing] = {
    "rll_cvpr19": _RLL,
    "rll_tpami": dataclasses.replace(
        _RLL, resize="stretch", source="Ranked List Loss, TPAMI release: process_ori_image_aug_v04_21042020.m"
    ),
    "osm_aaai19": dataclasses.replace(
        _RLL, size=224, resize_size=224, resize="stretch", source="OSM and CAA, AAAI 2019: process_image.m, no crop"
    ),
    # 128 for red where Caffe's lineage has 123: the mean that came with the PyTorch conversion of the weights.
    "pytorch": Preprocessing(
        channel_order="BGR",
        value_range=(0.0, 255.0),
        mean=(104.0, 117.0, 128.0),
        std=(1.0, 1.0, 1.0),
        size=224,
        resize_size=256,
        resize="shorter_side",
        kernel="pil_bilinear",
        source="pretrainedmodels/models/bninception.py, research-ms-loss and Deep_Metric",
    ),
}
