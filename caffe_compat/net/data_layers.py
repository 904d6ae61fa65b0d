"""Data layers as inputs: their tops' shapes, so that a stock train_val.prototxt loads and is fed from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from caffe_compat.errors import CaffeFormatError, UnsupportedLayerError
from caffe_compat.layers.base import Shape
from caffe_compat.schema import dialects_of_type

DATA_TYPES = {"Data", "ImageData", "MemoryData", "HDF5Data", "WindowData", "Python"}


def is_data_layer(message: Any) -> bool:
    """Whether a layer reads data; a Python layer does if it has no bottom, any other one computes."""
    return message.type in DATA_TYPES and not (message.type == "Python" and message.bottom)


def data_tops(message: Any, given: Mapping[str, Shape]) -> dict[str, Shape]:
    """Top name -> shape of a data layer: images (N, C, H, W) and labels (N,).

    `given` shapes (by top name) are taken as they are; with one for each top the layer need not say anything.

    Data and ImageData do not say how many channels their files have: 3 is taken, or 1 with `force_gray` or `is_color`
    off. Height and width come from crop_size, else from new_height and new_width.

    Raises:
        UnsupportedLayerError: the shape cannot be told from the prototxt.
    """
    if message.bottom:
        raise CaffeFormatError(
            f'layer "{message.name}" ({message.type}) takes exactly 0 bottoms, {len(message.bottom)} given'
        )
    if all(top in given for top in message.top):
        return {top: given[top] for top in message.top}
    image = _image_shape(message)
    if image is None or min(image) < 1 or len(message.top) > 2:
        shapes = ", ".join(f'"{top}": (...)' for top in message.top)
        hint = f"its shapes are not in the prototxt: give them with load_net(..., inputs={{{shapes}}})"
        raise UnsupportedLayerError(message.name, message.type, dialects_of_type(message.type), hint=hint)
    return dict(zip(message.top, [image, image[:1]]))


def _image_shape(message: Any) -> Shape | None:
    transform = message.transform_param
    crop, channels = transform.crop_size, 1 if transform.force_gray else 3
    if message.type == "MemoryData":
        param = message.memory_data_param
        return (param.batch_size, param.channels, crop or param.height, crop or param.width)
    if message.type == "Data" and crop:
        return (message.data_param.batch_size, channels, crop, crop)
    if message.type == "ImageData":
        param = message.image_data_param
        return (param.batch_size, channels if param.is_color else 1, crop or param.new_height, crop or param.new_width)
    return None
