"""Data layers as inputs: their tops' shapes, so that a stock train_val.prototxt loads and is fed from outside."""

from __future__ import annotations

from typing import Any

from caffe_compat.errors import UnsupportedLayerError
from caffe_compat.layers.base import Shape
from caffe_compat.schema import dialects_of_type

DATA_TYPES = {"Data", "ImageData", "MemoryData", "HDF5Data", "WindowData", "Python"}


def data_tops(message: Any) -> dict[str, Shape]:
    """Top name -> shape of a data layer: images (N, C, H, W) and labels (N,).

    Data and ImageData do not say how many channels their files have: 3 is taken, or 1 with `force_gray` or `is_color`
    off. Height and width come from crop_size, else from new_height and new_width.

    Raises:
        UnsupportedLayerError: the shape cannot be told from the prototxt.
    """
    image = _image_shape(message)
    if image is None or min(image) < 1 or len(message.top) > 2:
        hint = "its shapes are not in the prototxt: declare its tops as inputs instead (`input` and `input_shape`)"
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
