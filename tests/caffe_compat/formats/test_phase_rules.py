"""Phase rules and upgrades of old nets, against cases worked out by hand from Caffe's rules."""

from __future__ import annotations

import pytest

from caffe_compat import CaffeFormatError
from caffe_compat.formats.prototxt import filter_net, read_net, read_solver, upgrade_net, upgrade_solver

RULES = """
name: "rules"
layer { name: "always" type: "ReLU" }
layer { name: "train" type: "ReLU" include { phase: TRAIN } }
layer { name: "test" type: "ReLU" include { phase: TEST } }
layer { name: "not_test" type: "ReLU" exclude { phase: TEST } }
layer { name: "either" type: "ReLU" include { phase: TRAIN stage: "a" } include { stage: "b" } }
layer { name: "both" type: "ReLU" include { stage: "a" stage: "b" } }
layer { name: "not_a" type: "ReLU" include { not_stage: "a" } }
layer { name: "level" type: "ReLU" include { min_level: 2 max_level: 3 } }
layer { name: "low" type: "ReLU" exclude { min_level: 1 } }
layer { name: "empty_rule" type: "ReLU" include { } }
"""


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ({"phase": "TRAIN"}, "always train not_test not_a low empty_rule"),
        ({"phase": "TEST"}, "always test not_a low empty_rule"),
        ({"phase": 1}, "always test not_a low empty_rule"),
        ({"phase": "TRAIN", "stages": ["a"]}, "always train not_test either low empty_rule"),
        ({"phase": "TEST", "stages": ["b"]}, "always test either not_a low empty_rule"),
        ({"phase": "TEST", "stages": ["a", "b"], "level": 3}, "always test either both level empty_rule"),
        ({"phase": "TEST", "level": 4}, "always test not_a empty_rule"),
    ],
)
def test_layers_of_a_state(state, kept):
    net = read_net(RULES)
    before = net.SerializeToString()
    filtered = filter_net(net, **state)
    assert [layer.name for layer in filtered.layer] == kept.split()
    assert filtered.name == "rules" and net.SerializeToString() == before
    assert filtered.state.phase == (1 if state["phase"] in ("TEST", 1) else 0)
    assert list(filtered.state.stage) == list(state.get("stages", []))


def test_rules_that_contradict():
    with pytest.raises(CaffeFormatError, match='layer "x"'):
        filter_net(read_net('layer { name: "x" include { } exclude { } }'))
    with pytest.raises(ValueError, match="VALIDATION"):
        filter_net(read_net(RULES), phase="VALIDATION")


V1 = """
input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layers { name: "d" type: DATA top: "x" data_param { source: "s" batch_size: 2 scale: 0.5 mean_file: "m" crop_size: 7 mirror: true }
         include { phase: TRAIN } }
layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
         param: "w" blob_share_mode: PERMISSIVE convolution_param { num_output: 4 kernel_size: 3 } }
layers { name: "l" type: SOFTMAX_LOSS bottom: "c" bottom: "y" loss_weight: 0.25 }
"""
V2 = """
input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layer { name: "d" type: "Data" top: "x" data_param { source: "s" batch_size: 2 }
        transform_param { scale: 0.5 mean_file: "m" crop_size: 7 mirror: true } include { phase: TRAIN } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c"
        param { name: "w" share_mode: PERMISSIVE lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
        convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "l" type: "SoftmaxWithLoss" bottom: "c" bottom: "y" loss_weight: 0.25 }
"""


def test_v1_layers():
    assert upgrade_net(read_net(V1)) == read_net(V2)
    assert upgrade_net(read_net(V2)) == read_net(V2)


def test_every_v1_type_has_a_v2_name():
    values = read_net(V1).layers[0].DESCRIPTOR.fields_by_name["type"].enum_type.values
    for value in values:
        upgraded = upgrade_net(read_net(f'layers {{ name: "x" type: {value.name} }}')).layer[0].type
        assert upgraded.lower().replace("withloss", "loss") == value.name.replace("_", "").lower().replace("none", "")


def test_v0_layers():
    v0 = """
    layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "pad1" }
    layers { layer { name: "conv1" type: "conv" num_output: 5 kernelsize: 3 stride: 2 group: 1 biasterm: false
                     weight_filler { type: "gaussian" std: 0.01 } blobs_lr: 1. blobs_lr: 2. weight_decay: 1. }
             bottom: "pad1" top: "conv1" }
    layers { layer { name: "pool1" type: "pool" kernelsize: 3 stride: 2 pool: AVE } bottom: "conv1" top: "pool1" }
    layers { layer { name: "norm1" type: "lrn" local_size: 3 alpha: 0.1 beta: 0.5 } bottom: "pool1" top: "norm1" }
    layers { layer { name: "drop" type: "dropout" dropout_ratio: 0.4 } bottom: "norm1" top: "norm1" }
    layers { layer { name: "fc" type: "innerproduct" num_output: 10 } bottom: "norm1" top: "fc" }
    layers { layer { name: "loss" type: "softmax_loss" } bottom: "fc" bottom: "label" }
    """
    expected = """
    layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 }
      convolution_param { num_output: 5 kernel_size: 3 stride: 2 group: 1 bias_term: false pad: 2
                          weight_filler { type: "gaussian" std: 0.01 } } }
    layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 3 stride: 2 pool: AVE } }
    layer { name: "norm1" type: "LRN" bottom: "pool1" top: "norm1" lrn_param { local_size: 3 alpha: 0.1 beta: 0.5 } }
    layer { name: "drop" type: "Dropout" bottom: "norm1" top: "norm1" dropout_param { dropout_ratio: 0.4 } }
    layer { name: "fc" type: "InnerProduct" bottom: "norm1" top: "fc" inner_product_param { num_output: 10 } }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" }
    """
    assert upgrade_net(read_net(v0)) == read_net(expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('layers { name: "a" type: RELU } layer { name: "b" type: "ReLU" }', "mixes"),
        ('layers { layer { name: "a" type: "relu" } } layers { name: "b" type: RELU }', '"b"'),
        ('layers { layer { name: "a" type: "relu" num_output: 3 } }', "num_output"),
        ('layers { layer { name: "a" type: "warp" } }', '"warp"'),
        (
            'layers { layer { name: "p" type: "padding" } bottom: "x" top: "p" } '
            'layers { layer { name: "a" type: "relu" } bottom: "p" top: "a" }',
            "only a conv",
        ),
    ],
)
def test_what_cannot_be_upgraded(text, words):
    with pytest.raises(CaffeFormatError, match=words):
        upgrade_net(read_net(text))


def test_batchnorm_params_are_dropped_by_stock_caffe_only():
    text = 'layer { name: "bn" type: "BatchNorm" param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 } }'
    assert len(upgrade_net(read_net(text)).layer[0].param) == 0
    assert len(upgrade_net(read_net(text, dialect="rll_cvpr19")).layer[0].param) == 3


def test_solver_type_enum():
    solver = upgrade_solver(read_solver('net: "n" solver_type: ADAGRAD'))
    assert solver.type == "AdaGrad" and not solver.HasField("solver_type")
    with pytest.raises(CaffeFormatError, match="not both"):
        upgrade_solver(read_solver('net: "n" solver_type: ADAM type: "SGD"'))
