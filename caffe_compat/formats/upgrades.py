"""Bring nets and solvers of older Caffe versions to today's form, as Caffe's own `upgrade_proto.cpp` does."""

from __future__ import annotations

from typing import Any

from caffe_compat.errors import CaffeFormatError
from caffe_compat.formats.upgrade_v0 import upgrade_v0_net
from caffe_compat.schema import dialect_of

# V1LayerParameter.LayerType -> type string of a V2 layer
V1_TYPES = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ACCURACY": "Accuracy",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss",
    "CONVOLUTION": "Convolution",
    "DATA": "Data",
    "DECONVOLUTION": "Deconvolution",
    "DROPOUT": "Dropout",
    "DUMMY_DATA": "DummyData",
    "EUCLIDEAN_LOSS": "EuclideanLoss",
    "ELTWISE": "Eltwise",
    "EXP": "Exp",
    "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "HINGE_LOSS": "HingeLoss",
    "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss",
    "INNER_PRODUCT": "InnerProduct",
    "LRN": "LRN",
    "MEMORY_DATA": "MemoryData",
    "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
    "MVN": "MVN",
    "POOLING": "Pooling",
    "POWER": "Power",
    "RELU": "ReLU",
    "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SILENCE": "Silence",
    "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPLIT": "Split",
    "SLICE": "Slice",
    "TANH": "TanH",
    "WINDOW_DATA": "WindowData",
    "THRESHOLD": "Threshold",
}
SOLVER_TYPES = {
    "SGD": "SGD",
    "NESTEROV": "Nesterov",
    "ADAGRAD": "AdaGrad",
    "RMSPROP": "RMSProp",
    "ADADELTA": "AdaDelta",
    "ADAM": "Adam",
}
_V1_ONLY = {"type", "layer", "param", "blob_share_mode", "blobs_lr", "weight_decay"}
_DATA_PARAMS = {"DATA": "data_param", "IMAGE_DATA": "image_data_param", "WINDOW_DATA": "window_data_param"}


def upgrade_net(net: Any) -> Any:
    """A copy of the net with V2 layers only.

    V0 layers (`layers { layer { } }`) become V1, V1 layers become V2, transformation fields of V1 data layers move to
    `transform_param`. `input`, `input_dim` and `input_shape` stay as they are: `net_inputs` reads them all. In the
    `bvlc` dialect the three `param` entries that old files give BatchNorm are dropped, as stock Caffe does (its layer
    then fixes lr_mult 0); the RLL forks do not, there the entries keep their meaning.

    Raises:
        CaffeFormatError: the net mixes generations, or a V0 or V1 layer holds what cannot be upgraded.
    """
    result = type(net)()
    result.CopyFrom(net)
    if result.layers and result.layer:
        raise CaffeFormatError(
            f'the net mixes V1 `layers` ("{result.layers[0].name}") and V2 `layer` ("{result.layer[0].name}")'
        )
    if any(v1.HasField("layer") for v1 in result.layers):
        upgrade_v0_net(result)
    for v1 in result.layers:
        _move_transform(v1)
        _upgrade_v1(v1, result.layer.add())
    result.ClearField("layers")
    if dialect_of(net) == "bvlc":
        for layer in result.layer:
            if layer.type == "BatchNorm" and len(layer.param) == 3:
                layer.ClearField("param")
    return result


def _move_transform(v1: Any) -> None:
    name = _DATA_PARAMS.get(_type_name(v1))
    if name is None:
        return
    data = getattr(v1, name)
    for field in ("scale", "mean_file", "crop_size", "mirror"):
        if data.HasField(field):
            setattr(v1.transform_param, field, getattr(data, field))
            data.ClearField(field)


def _type_name(v1: Any) -> str:
    return v1.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[v1.type].name


def _upgrade_v1(v1: Any, layer: Any) -> None:
    for field, value in v1.ListFields():
        if field.name in _V1_ONLY:
            continue
        if isinstance(value, str):
            setattr(layer, field.name, value)
        else:
            getattr(layer, field.name).MergeFrom(value)
    if v1.HasField("type"):
        layer.type = V1_TYPES[_type_name(v1)]
    if v1.HasField("layer"):
        raise CaffeFormatError(f'layer "{v1.name}": a V0 layer among V1 layers')
    for i in range(max(len(v1.param), len(v1.blob_share_mode), len(v1.blobs_lr), len(v1.weight_decay))):
        spec = layer.param.add()
        if i < len(v1.param):
            spec.name = v1.param[i]
        if i < len(v1.blob_share_mode):
            spec.share_mode = v1.blob_share_mode[i]
        if i < len(v1.blobs_lr):
            spec.lr_mult = v1.blobs_lr[i]
        if i < len(v1.weight_decay):
            spec.decay_mult = v1.weight_decay[i]


def upgrade_solver(solver: Any) -> Any:
    """A copy of the solver whose deprecated `solver_type` enum is replaced by the `type` string.

    Raises:
        CaffeFormatError: both are given (Caffe refuses that too).
    """
    result = type(solver)()
    result.CopyFrom(solver)
    if solver.HasField("solver_type"):
        if solver.HasField("type"):
            raise CaffeFormatError(f'give solver_type or type ("{solver.type}"), not both')
        values = solver.DESCRIPTOR.fields_by_name["solver_type"].enum_type.values_by_number
        result.type = SOLVER_TYPES[values[solver.solver_type].name]
        result.ClearField("solver_type")
    return result
