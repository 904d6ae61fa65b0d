"""V0 layers (2013: every parameter in one flat message) to V1 layers."""

from __future__ import annotations

from typing import Any

from caffe_compat.errors import CaffeFormatError

# V0 type string -> V1LayerParameter.LayerType
V0_TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}
_CONV, _FC, _POOL, _LRN = "convolution_param", "inner_product_param", "pooling_param", "lrn_param"
_IMAGES, _WINDOW = "image_data_param", "window_data_param"

# V0 field -> {V0 type: "message.field" of the V1 layer}; "*" stands for every type.
_MOVES: dict[str, dict[str, str]] = {
    "num_output": {"conv": f"{_CONV}.num_output", "innerproduct": f"{_FC}.num_output"},
    "biasterm": {"conv": f"{_CONV}.bias_term", "innerproduct": f"{_FC}.bias_term"},
    "weight_filler": {"conv": f"{_CONV}.weight_filler", "innerproduct": f"{_FC}.weight_filler"},
    "bias_filler": {"conv": f"{_CONV}.bias_filler", "innerproduct": f"{_FC}.bias_filler"},
    "pad": {"conv": f"{_CONV}.pad", "pool": f"{_POOL}.pad"},
    "kernelsize": {"conv": f"{_CONV}.kernel_size", "pool": f"{_POOL}.kernel_size"},
    "group": {"conv": f"{_CONV}.group"},
    "stride": {"conv": f"{_CONV}.stride", "pool": f"{_POOL}.stride"},
    "pool": {"pool": f"{_POOL}.pool"},
    "dropout_ratio": {"dropout": "dropout_param.dropout_ratio"},
    "local_size": {"lrn": f"{_LRN}.local_size"},
    "alpha": {"lrn": f"{_LRN}.alpha"},
    "beta": {"lrn": f"{_LRN}.beta"},
    "k": {"lrn": f"{_LRN}.k"},
    "source": {
        "data": "data_param.source",
        "hdf5_data": "hdf5_data_param.source",
        "images": f"{_IMAGES}.source",
        "window_data": f"{_WINDOW}.source",
        "infogain_loss": "infogain_loss_param.source",
    },
    "scale": {"*": "transform_param.scale"},
    "meanfile": {"*": "transform_param.mean_file"},
    "batchsize": {
        "data": "data_param.batch_size",
        "hdf5_data": "hdf5_data_param.batch_size",
        "images": f"{_IMAGES}.batch_size",
        "window_data": f"{_WINDOW}.batch_size",
    },
    "cropsize": {"*": "transform_param.crop_size"},
    "mirror": {"*": "transform_param.mirror"},
    "rand_skip": {"data": "data_param.rand_skip", "images": f"{_IMAGES}.rand_skip"},
    "shuffle_images": {"images": f"{_IMAGES}.shuffle"},
    "new_height": {"images": f"{_IMAGES}.new_height"},
    "new_width": {"images": f"{_IMAGES}.new_width"},
    "concat_dim": {"concat": "concat_param.concat_dim"},
    "det_fg_threshold": {"window_data": f"{_WINDOW}.fg_threshold"},
    "det_bg_threshold": {"window_data": f"{_WINDOW}.bg_threshold"},
    "det_fg_fraction": {"window_data": f"{_WINDOW}.fg_fraction"},
    "det_context_pad": {"window_data": f"{_WINDOW}.context_pad"},
    "det_crop_mode": {"window_data": f"{_WINDOW}.crop_mode"},
    "hdf5_output_param": {"hdf5_output": "hdf5_output_param"},
}


def upgrade_v0_net(net: Any) -> None:
    """Turn every V0 layer of the net into a V1 layer, in place.

    `padding` layers are folded into the convolutions behind them, which were the only layers they could feed.

    Raises:
        CaffeFormatError: an unknown V0 type, a field that the type does not take, a padding that feeds no convolution.
    """
    old = list(net.layers)
    padding = {top: v1 for v1 in old if v1.layer.type == "padding" for top in v1.top}
    upgraded = []
    for v1 in old:
        if not v1.HasField("layer"):
            raise CaffeFormatError(f'layer "{v1.name}": a V1 layer among V0 layers')
        if v1.layer.type == "padding":
            continue
        new = type(v1)()
        new.bottom.extend(v1.bottom)
        new.top.extend(v1.top)
        for i, bottom in enumerate(v1.bottom):
            if bottom in padding:
                if v1.layer.type != "conv":
                    raise CaffeFormatError(f'layer "{v1.layer.name}": only a conv can follow padding "{bottom}"')
                v1.layer.pad = padding[bottom].layer.pad
                new.bottom[i] = padding[bottom].bottom[0]
        _upgrade_v0(v1.layer, new)
        upgraded.append(new)
    net.ClearField("layers")
    net.layers.extend(upgraded)


def _upgrade_v0(v0: Any, v1: Any) -> None:
    if v0.HasField("type"):
        if v0.type not in V0_TYPES:
            raise CaffeFormatError(f'layer "{v0.name}": unknown V0 type "{v0.type}"')
        v1.type = v1.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_name[V0_TYPES[v0.type]].number
    for field, value in v0.ListFields():
        if field.name == "type":
            continue
        if field.name == "name":
            v1.name = value
        elif field.name in ("blobs", "blobs_lr", "weight_decay"):
            getattr(v1, field.name).extend(value)
        else:
            moves = _MOVES.get(field.name, {})
            target = moves.get(v0.type) or moves.get("*")
            if target is None:
                raise CaffeFormatError(f'layer "{v0.name}": V0 type "{v0.type}" does not take "{field.name}"')
            _put(v1, target, field, value)


def _put(v1: Any, target: str, field: Any, value: Any) -> None:
    param, _, name = target.partition(".")
    owner = getattr(v1, param)
    if not name:
        owner.CopyFrom(value)
    elif field.message_type is not None:
        getattr(owner, name).CopyFrom(value)
    elif field.name in ("pad", "kernelsize", "stride") and param == _CONV:
        getattr(owner, name).append(value)  # one value a dimension since V1
    else:
        setattr(owner, name, value)
