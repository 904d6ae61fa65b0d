"""Prototxt text in and out, dialect detection, positions in errors."""

from __future__ import annotations

import pytest

from caffe_compat import CaffeFormatError, DialectError
from caffe_compat.formats.prototxt import net_inputs, parse, read_net, read_solver, write
from caffe_compat.formats.text import rename_fields
from caffe_compat.schema import DIALECTS, dialect_of

V12 = 'layer { name: "l" type: "DistanceWeightedValidPairLossV12" bottom: "x" bottom: "label" top: "loss" %s }'


def all_files(reference):
    files = sorted((reference / "prototxt").rglob("*.prototxt"))
    assert len(files) >= 45
    return files


def test_every_recorded_file_survives_writing_and_reading(reference):
    for file in all_files(reference):
        read = read_solver if file.name == "solver.prototxt" else read_net
        # TPAMI train nets with defaults only can mean either ranked list loss: they need the dialect.
        dialect = "rll_tpami" if "rll_tpami" in file.parts else None
        message = read(file, dialect=dialect)
        again = parse(write(message), message.DESCRIPTOR.name, dialect_of(message))
        assert again == message, file
        assert read(file, dialect=dialect) == message


def test_which_dialect_the_recorded_train_nets_are(reference):
    found = {}
    for file in all_files(reference):
        if file.name == "train.prototxt":
            try:
                found[str(file.parent.relative_to(reference / "prototxt"))] = dialect_of(read_net(file))
            except DialectError as error:
                found[str(file.parent.relative_to(reference / "prototxt"))] = error.choices
    both = ("rll_cvpr19", "rll_tpami")
    assert found == {
        "osm_aaai19/CARS196_V01/M_WIDE_ASiamese_V62_e1": "osm_aaai19",
        "osm_aaai19/CUB_V01/M_WIDE_ASiamese_V42_e1": "osm_aaai19",
        "osm_aaai19/MARS_V01/M_WIDE_WF_WIDE_ASiamese_V20_e2": "osm_aaai19",
        # negative_threshold, which only the later schema has, in the release of the earlier paper
        "rll_cvpr19/CUB_V01/60_n1.4_pn0.2_tp0_tn10": "rll_tpami",
        "rll_cvpr19/SOP_GoogLeNet_Ori_V05/180_T10_m10_pn04_step5000": "rll_cvpr19",
        "rll_cvpr19/SOP_GoogLeNet_Ori_V05/180_T10_m12_pn04_step5000": "rll_cvpr19",
        # pn_margin alone: both forks have it
        "rll_tpami/Market1501_GooLeNetV2_V02_11042020/180_pn04_tp0_tn10_onlyRLLv02": both,
        "rll_tpami/SOP_Simp_25042020/150_T10_pn04_v50": both,
    }


def test_cub_net_of_the_cvpr_release_reads_both_ways(reference):
    file = reference / "prototxt/rll_cvpr19/CUB_V01/60_n1.4_pn0.2_tp0_tn10/train.prototxt"
    with pytest.raises(CaffeFormatError, match="negative_threshold") as error:
        read_net(file, dialect="rll_cvpr19")
    assert error.value.line == 1 + file.read_text().split("negative_threshold")[0].count("\n")
    assert "known to rll_tpami" in str(error.value) and "rename=" in str(error.value)

    cvpr = read_net(file, dialect="rll_cvpr19", rename={"negative_threshold": "margin"})
    tpami = read_net(file, dialect="rll_tpami")
    margins = [x.contrastive_loss_param_v2.margin for x in cvpr.layer if x.type.endswith("V12")]
    thresholds = [x.contrastive_loss_param_v2.negative_threshold for x in tpami.layer if x.type.endswith("V12")]
    assert margins == thresholds and len(margins) == 3
    assert margins[0] == pytest.approx(1.4)

    solver = file.with_name("solver.prototxt")
    drop = dict.fromkeys(["negative_threshold", "pn_margin", "p_temperature", "n_temperature"])
    assert dialect_of(read_solver(solver)) == "rll_tpami"
    assert list(read_solver(solver, dialect="rll_cvpr19", rename=drop).stepvalue) == [2000, 4000, 6000, 8000]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('layer { name: "r" type: "ReLU" bottom: "x" top: "y" }', "bvlc"),
        (V12 % "contrastive_loss_param_v2 { margin: 1 }", "rll_cvpr19"),
        (V12 % "contrastive_loss_param_v2 { negative_threshold: 1 }", "rll_tpami"),
        ('layer { name: "p" type: "ExtractProb" }', "osm_aaai19"),
        ('layer { name: "u" type: "UnifiedWeightLoss" }', "rll_tpami"),
        ('layer { name: "n" type: "Normalize" normalize_param { coeff: 2 } }', "rll_cvpr19"),  # same in all forks
        ('layer { name: "c" type: "ContrastiveLoss" bottom: "a" bottom: "b" bottom: "s" }', "bvlc"),
    ],
)
def test_dialect_is_detected_where_it_is_unambiguous(text, expected):
    assert dialect_of(read_net(text)) == expected


@pytest.mark.parametrize(
    "fields", ["", "softmax_t_n_param { scale: 10 }", "contrastive_loss_param_v2 { pn_margin: 1 }"]
)
def test_ranked_list_loss_without_a_telling_field_asks_for_the_dialect(fields):
    with pytest.raises(DialectError) as error:
        read_net(V12 % fields)
    assert error.value.choices == ("rll_cvpr19", "rll_tpami")
    assert "DistanceWeightedValidPairLossV12" in str(error.value) and "rll_tpami" in str(error.value)
    assert dialect_of(read_net(V12 % fields, dialect="rll_tpami")) == "rll_tpami"


def test_normalization_alone_asks_for_the_dialect():
    with pytest.raises(DialectError) as error:
        read_net('layer { name: "n" type: "Normalization" }')
    assert error.value.choices == DIALECTS[1:]


def test_no_dialect_has_it_all():
    mixed = 'layer { name: "p" type: "ExtractProb" } ' + V12 % "contrastive_loss_param_v2 { margin: 1 }"
    with pytest.raises(DialectError, match="no dialect has all"):
        read_net(mixed)


def test_syntax_that_authors_use():
    net = read_net(
        "# a comment with umlauts: \xe4\xf6\n"
        "name: 'single quotes' # trailing\n"
        'input: "data"  input_dim: 1 input_dim: 3, input_dim: 2; input_dim: 2\n'
        'layer < name: "a" type: "Pooling" bottom: "data" top: "p"\n'
        "  pooling_param { pool: AVE kernel_size: 2 } loss_weight: 0.5f propagate_down: 1 propagate_down: false >\n"
        'layer { name: "b" type: "Pooling" pooling_param: { pool: 1 } phase: TRAIN '
        "param { lr_mult: 1e1 decay_mult: 0 } include: { phase: 1 } }\n"
    )
    assert net.name == "single quotes"
    assert list(net.input_dim) == [1, 3, 2, 2]
    assert net.layer[0].pooling_param.pool == net.layer[1].pooling_param.pool == 1
    assert list(net.layer[0].propagate_down) == [True, False]
    assert (net.layer[1].phase, net.layer[1].include[0].phase) == (0, 1)
    assert net.layer[1].param[0].lr_mult == 10


@pytest.mark.parametrize("policy", ["fixed", "step", "multistep", "exp", "inv", "poly", "sigmoid"])
def test_solver_policies(policy):
    text = f'net: "n" lr_policy: "{policy}" base_lr: 0.1 gamma: 0.5 power: 2 stepsize: 3 stepvalue: 4 stepvalue: 5'
    solver = read_solver(text)
    assert solver.lr_policy == policy and list(solver.stepvalue) == [4, 5]
    assert parse(write(solver), "SolverParameter", "bvlc") == solver


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ('layer {\n  name: "a"\n  tipe: "ReLU"\n}', 3, 3, 'no field named "tipe"'),
        ('layer {\n  name: "a"\n  type: ReLU\n}', 3, 9, "string"),
        ('layer { name: "a"\n', 1, 15, 'Expected "}"'),  # the last thing read
        ('layer { name: "a" name: "b" }', 1, 25, "should not have multiple"),
        ("layer { pooling_param { pool: MIN } }", 1, 31, "no value named MIN"),
        ('layer { name: "a }', 1, 15, ""),
    ],
)
def test_errors_say_where(tmp_path, text, line, column, words):
    file = tmp_path / "net.prototxt"
    file.write_text(text)
    with pytest.raises(CaffeFormatError) as error:
        read_net(file)
    assert (error.value.file, error.value.line) == (str(file), line)
    assert abs(error.value.column - column) <= 1  # protobuf versions differ in counting from the token or behind it
    assert str(error.value).startswith(f"{file}:{line}:")
    assert words in str(error.value)


def test_text_in_one_line_may_be_longer_than_a_file_name():
    text = 'type: "SGD" ' + "max_iter: 1 base_lr: 0.5 " + "# " + "x" * 500
    assert read_solver(text).base_lr == 0.5


def test_what_is_no_prototxt(tmp_path):
    (tmp_path / "empty").write_text(" \n")
    with pytest.raises(CaffeFormatError, match="empty"):
        read_net(tmp_path / "empty")
    (tmp_path / "binary").write_bytes(b"\x0a\x00\x00abc")
    with pytest.raises(CaffeFormatError, match="byte 1: not a prototxt"):
        read_net(tmp_path / "binary")
    with pytest.raises(FileNotFoundError):
        read_net(tmp_path / "nowhere.prototxt")
    (tmp_path / "latin1").write_bytes('# gro\xdf\nname: "n" input: "x" input_dim: 1'.encode("latin-1"))
    assert read_net(tmp_path / "latin1").name == "n"
    (tmp_path / "latin1_enum").write_bytes(b"layer { pooling_param { pool: MA\xff } }")
    with pytest.raises(CaffeFormatError):
        read_net(tmp_path / "latin1_enum")
    (tmp_path / "latin1_name").write_bytes('name: "gro\xdf"'.encode("latin-1"))
    with pytest.raises(CaffeFormatError):
        read_net(tmp_path / "latin1_name")


def test_deep_nesting_is_an_error_not_a_crash():
    with pytest.raises(CaffeFormatError):
        read_solver("net_param { layer { dummy_data_param: " + "{ data_filler " * 5000)


def test_rename_leaves_strings_comments_and_other_names_alone():
    text = 'a: 1 # a: 2\nname: "a: 3" aa: 4 b { a: \'x\' a : "y" } a{ c: 1 }'
    assert rename_fields(text, {"a": "z"}) == 'z: 1 # a: 2\nname: "a: 3" aa: 4 b { z: \'x\' z : "y" } z{ c: 1 }'
    assert rename_fields("a: 1\nb: 2.5e3 c: 'a: 1'", {"a": None, "b": None}) == "\n c: 'a: 1'"
    with pytest.raises(CaffeFormatError, match="only scalar"):
        rename_fields("\na { b: 1 }", {"a": None})


def test_inputs_in_all_three_notations():
    assert net_inputs(read_net('input: "x" input_dim: 1 input_dim: 3 input_dim: 4 input_dim: 5')) == {"x": (1, 3, 4, 5)}
    two = 'input: "x" input: "y" input_shape { dim: 2 dim: 7 } input_shape { dim: 3 }'
    assert net_inputs(read_net(two)) == {"x": (2, 7), "y": (3,)}
    layer = 'layer { name: "i" type: "Input" top: "x" top: "y" input_param { shape { dim: 4 dim: 2 } } }'
    assert net_inputs(read_net(layer)) == {"x": (4, 2), "y": (4, 2)}


@pytest.mark.parametrize(
    "text",
    [
        'input: "x" input_dim: 1',
        'input: "x" input: "y" input_shape { dim: 1 }',
        'input: "x" input_dim: 1 input_dim: 1 input_dim: 1 input_dim: 1 input_shape { dim: 1 }',
        'input: "x" input_shape { dim: -1 }',
        'layer { name: "i" type: "Input" top: "x" top: "y" input_param { } }',
    ],
)
def test_impossible_inputs(text):
    with pytest.raises(CaffeFormatError):
        net_inputs(read_net(text))
