"""Every Caffe layer type as a small layer on the meta device: forward and, where it has one, backward."""

from __future__ import annotations

import torch

from caffe_compat.formats.prototxt import parse
from caffe_compat.layers import LAYERS
from caffe_compat.schema.layer_types import dialects_of_type
from tools.cuda.recorder import Recorder

#: What follows the layer's name, type and tops; layers that are not here need nothing.
SETTINGS = {
    "Accuracy": "accuracy_param { top_k: 1 }",
    "ArgMax": "argmax_param { axis: 1 }",
    "Convolution": "convolution_param { num_output: 4 kernel_size: 3 pad: 1 group: 2 }",
    "Crop": "crop_param { axis: 2 offset: 1 offset: 0 }",
    "Deconvolution": "convolution_param { num_output: 4 kernel_size: 3 stride: 2 }",
    "Dropout": "dropout_param { dropout_ratio: 0.5 }",
    "DummyData": "dummy_data_param { shape { dim: 2 dim: 3 } }",
    "Embed": "embed_param { num_output: 3 input_dim: 6 }",
    "InnerProduct": "inner_product_param { num_output: 3 }",
    "Parameter": "parameter_param { shape { dim: 2 dim: 2 } }",
    "Pooling": "pooling_param { pool: MAX kernel_size: 3 stride: 2 }",
    "Pooling AVE": "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }",
    "Pooling global": "pooling_param { pool: AVE global_pooling: true }",
    "Eltwise MAX": "eltwise_param { operation: MAX }",
    "LRN within": "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 }",
    "Normalization": "normalization_param { norm: L2 }",
    "Reduction": "reduction_param { operation: SUMSQ axis: 1 }",
    "Reshape": "reshape_param { shape { dim: 0 dim: -1 } }",
    "Slice": "slice_param { axis: 0 slice_point: 2 }",
    "Tile": "tile_param { axis: 1 tiles: 2 }",
}
_BLOB, _LABELS, _ROWS = (6, 4, 5, 5), (6,), (6, 8)
#: Shapes of the bottoms; one blob for the layers that are not here.
BOTTOMS: dict[str, list[tuple[int, ...]]] = {
    **{name: [_BLOB, _BLOB] for name in ("Concat", "Eltwise", "Eltwise MAX")},
    **{name: [_ROWS, _ROWS] for name in ("EuclideanLoss", "SigmoidCrossEntropyLoss")},
    **{name: [_ROWS, _LABELS] for name in ("Accuracy", "ExtractProb")},
    **{name: [_ROWS, _LABELS] for name in ("HingeLoss", "MultinomialLogisticLoss", "SoftmaxWithLoss")},
    **{name: [_ROWS, _ROWS, _LABELS] for name in ("ContrastiveLoss", "ContrastiveLossV2")},
    **{name: [] for name in ("DummyData", "Parameter")},
    "TripletLoss": [_ROWS, _ROWS, _ROWS],
    "Normalize": [(6, 4, 1, 1)],
    "Bias": [_BLOB, (4,)],
    "Crop": [_BLOB, (6, 9, 3, 2)],
    "Embed": [_LABELS],
}
TOPS = {"Silence": 0, "Slice": 2, "Split": 2}


def names() -> list[str]:
    """Every type, and those that have a second way of working once more."""
    return sorted({*LAYERS, *SETTINGS})


def run(name: str) -> Recorder:
    """What the layer does in training."""
    kind = name.split()[0]
    cls, dialect = LAYERS[kind], dialects_of_type(kind)[0]
    tops = " ".join(f'top: "t{i}"' for i in range(TOPS.get(kind, 1)))
    message = parse(f'name: "l" type: "{kind}" {tops} {SETTINGS.get(name, "")}', "LayerParameter", dialect)
    shapes = BOTTOMS.get(name, BOTTOMS.get(kind))
    if shapes is None:
        least = cls.counts_in(dialect, message).bottoms[0]
        shapes = [_ROWS, *[_LABELS] * (least - 1)] if cls.is_loss else [_BLOB] * least
    layer = cls(message, shapes, dialect=dialect, phase="TRAIN").to("meta")
    bottoms = [torch.empty(shape, device="meta", requires_grad=len(shape) > 1) for shape in shapes]
    recorder = Recorder()
    with recorder:
        found = layer(*bottoms)
        losses = [top.sum() for top in found if top.requires_grad]
        if losses:
            torch.stack(losses).sum().backward()
    return recorder
