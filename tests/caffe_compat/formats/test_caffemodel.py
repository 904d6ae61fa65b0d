"""Weights files against the files that the forks' Caffe wrote, and hand-made ones of older forms."""

from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest

from caffe_compat import CaffeFormatError
from caffe_compat.formats.binaryproto import read_binaryproto, write_binaryproto
from caffe_compat.formats.caffemodel import read_caffemodel, read_layers, read_weights_message, write_caffemodel
from caffe_compat.formats.prototxt import read_net
from caffe_compat.formats.solverstate import SolverSnapshot, read_solverstate, write_solverstate
from caffe_compat.schema import DIALECTS, message_class
from caffe_compat.schema.weights import weights_class

FORKS = DIALECTS[1:]
SNAPSHOTS = ("init.caffemodel", "tiny_iter_3.caffemodel")


def typed(fork, path):
    """The file through the fork's whole schema with float lists: a reader that shares no code with ours."""
    return message_class(fork, "NetParameter").FromString(path.read_bytes())


@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("name", SNAPSHOTS)
def test_values_shapes_and_order_are_those_that_caffe_wrote(tiny, fork, name):
    net = typed(fork, tiny / fork / name)
    layers = read_layers(tiny / fork / name)
    assert [(x.name, x.type, len(x.blobs)) for x in layers] == [(x.name, x.type, len(x.blobs)) for x in net.layer]
    for ours, theirs in zip(layers, net.layer):
        for array, blob in zip(ours.blobs, theirs.blobs):
            assert array.dtype == np.float32 and array.flags.writeable
            assert array.shape == tuple(blob.shape.dim)
            assert array.ravel().tolist() == list(blob.data)
    weights = read_caffemodel(tiny / fork / name)
    assert list(weights) == [x.name for x in net.layer if x.blobs]


@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("name", SNAPSHOTS)
def test_a_file_read_and_written_back_holds_the_same_messages(tiny, fork, name, tmp_path):
    original = typed(fork, tiny / fork / name)
    (tmp_path / "raw").write_bytes(read_weights_message(tiny / fork / name).SerializeToString())
    assert typed(fork, tmp_path / "raw") == original
    # From arrays and a net: what Caffe's own Net::ToProto does.
    bare = type(original)()
    bare.CopyFrom(original)
    for layer in bare.layer:
        layer.ClearField("blobs")
    write_caffemodel(tmp_path / "new.caffemodel", read_caffemodel(tiny / fork / name), net=bare)
    assert typed(fork, tmp_path / "new.caffemodel") == original


@pytest.mark.parametrize("fork", FORKS)
def test_hdf5_weights_equal_the_binary_ones(tiny, fork):
    # Caffe cannot write layer names with "/" to HDF5, so that run's net says "_"; shared blobs appear at their owner.
    binary = {k.replace("/", "_"): v for k, v in read_caffemodel(tiny / fork / "tiny_iter_3.caffemodel").items()}
    if fork == "osm_aaai19":
        assert np.array_equal(binary.pop("cls2")[0], binary["cls1"][0])
    hdf5 = read_caffemodel(tiny / fork / "tiny_h5_iter_3.caffemodel.h5")
    assert set(hdf5) == set(binary)
    for name, blobs in hdf5.items():
        for ours, theirs in zip(blobs, binary[name], strict=True):
            assert np.array_equal(ours, theirs) and ours.dtype == theirs.dtype


@pytest.mark.parametrize("suffix", [".caffemodel", ".caffemodel.h5"])
def test_writing_without_a_net(tmp_path, suffix):
    weights = {
        "z_first": [np.arange(6, dtype=np.float32).reshape(2, 3), np.float32([1, 2])],
        "a_second": [np.arange(4.0).reshape(1, 2, 2, 1), np.zeros((0, 3), np.float32), np.float32(7).reshape(())],
    }
    path = tmp_path / f"x{suffix}"
    write_caffemodel(path, weights, types={"z_first": "InnerProduct"})
    again = read_caffemodel(path)
    assert set(again) == set(weights)
    if suffix == ".caffemodel":
        assert list(again) == list(weights) and read_layers(path)[0].type == "InnerProduct"
    for name in weights:
        for ours, theirs in zip(again[name], weights[name], strict=True):
            assert ours.dtype == theirs.dtype and ours.shape == theirs.shape and np.array_equal(ours, theirs)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_float64_becomes_double_data_and_half_becomes_single(tmp_path):
    write_caffemodel(tmp_path / "x.caffemodel", {"a": [np.float64([0.1]), np.float16([0.5])]})
    blobs = typed("bvlc", tmp_path / "x.caffemodel").layer[0].blobs
    assert list(blobs[0].double_data) == [0.1] and not blobs[0].data
    assert list(blobs[1].data) == [0.5] and not blobs[1].double_data


def test_hdf5_refuses_names_that_caffe_cannot_store(tmp_path):
    with pytest.raises(CaffeFormatError, match='layer "conv1/7x7_s2"'):
        write_caffemodel(tmp_path / "x.h5", {"conv1/7x7_s2": [np.zeros(1)]})
    assert not list(tmp_path.iterdir())


def test_weights_for_no_layer_of_the_net(tmp_path):
    with pytest.raises(KeyError, match="nowhere"):
        write_caffemodel(
            tmp_path / "x.caffemodel", {"nowhere": [np.zeros(1)]}, net=read_net('layer { name: "a" type: "ReLU" }')
        )
    assert not list(tmp_path.iterdir())


def test_v1_and_v0_layers_and_legacy_shapes(tmp_path):
    net = message_class("bvlc", "NetParameter")()
    v1 = net.layers.add(name="conv", type=4)
    v1.blobs.add(num=1, channels=2, height=1, width=2, data=[1, 2, 3, 4])
    v0 = net.layers.add().layer
    v0.name, v0.type = "ip", "innerproduct"
    v0.blobs.add(num=1, channels=1, height=1, width=3, data=[5, 6, 7])
    (tmp_path / "old.caffemodel").write_bytes(net.SerializeToString())
    layers = read_layers(tmp_path / "old.caffemodel")
    assert [(x.name, x.type) for x in layers] == [("conv", "Convolution"), ("ip", "InnerProduct")]
    assert layers[0].blobs[0].tolist() == [[[[1, 2]], [[3, 4]]]]
    assert layers[1].blobs[0].shape == (1, 1, 1, 3)


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def chunk(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def one_blob(blob):
    return chunk(100, chunk(1, b"a") + chunk(7, blob))


@pytest.mark.parametrize(
    "data",
    [
        chunk(5, struct.pack("<3f", 1, 2, 3)),
        chunk(5, struct.pack("<f", 1)) + chunk(5, struct.pack("<2f", 2, 3)),
        b"".join(varint(5 << 3 | 5) + struct.pack("<f", x) for x in (1, 2, 3)),
        chunk(8, struct.pack("<3d", 1, 2, 3)),
        b"".join(varint(8 << 3 | 1) + struct.pack("<d", x) for x in (1, 2, 3)),
    ],
    ids=["packed", "two chunks", "single", "double", "single double"],
)
@pytest.mark.parametrize("shape", [chunk(7, chunk(1, b"\x03")), chunk(7, b"\x08\x03")], ids=["packed dim", "dim"])
def test_every_encoding_of_three_values(tmp_path, data, shape):
    (tmp_path / "x").write_bytes(one_blob(shape + data))
    [blob] = read_caffemodel(tmp_path / "x")["a"]
    assert blob.tolist() == [1, 2, 3]


def test_fields_of_unknown_forks_do_not_hurt(tmp_path):
    # One public model stores a string where another fork has a message (LayerParameter field 10001).
    extra = chunk(10001, b"\xff\xff not a message") + varint(10002 << 3 | 5) + b"1234"
    layer = chunk(1, b"a") + chunk(2, b"Strange") + extra + chunk(7, chunk(5, b"\0\0\x80\x3f") + chunk(7, b"\x08\x01"))
    (tmp_path / "x").write_bytes(chunk(100, layer))
    assert read_caffemodel(tmp_path / "x")["a"][0].tolist() == [1]
    assert extra in read_weights_message(tmp_path / "x").SerializeToString()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (one_blob(chunk(7, b"\x08\x04") + chunk(5, b"\0" * 12)), r'layer "a", blob 0: shape \(4,\) wants 4 values, 3'),
        (one_blob(chunk(7, b"\x08\x03") + chunk(5, b"\0" * 13)), r"wants 3 values, 3.25"),
        (one_blob(chunk(7, chunk(1, b"\xff" * 9 + b"\x01"))), "impossible shape"),
        (one_blob(chunk(7, chunk(1, b"\xff\xff\xff\xff\x07" * 3))), "wants"),
        (one_blob(chunk(7, chunk(1, b"\x01" * 33)) + chunk(5, b"\0" * 4)), "impossible shape"),
        (one_blob(chunk(7, b"\x08\x03") + b"\x2d\0\0\0\0" + chunk(5, b"\0" * 8)), "wants 3 values, 2"),
        (chunk(100, chunk(1, b"\xff\xfe")), "UTF-8"),
        (chunk(100, b"\x0a\x05abc"), "byte 3: .*field 1 claims 5 bytes, 3 are left"),
        (chunk(1, b"only a name"), "no layers"),
        (b"", "no layers"),
        (b"name: 'a prototxt'\n", "byte"),
    ],
)
def test_bad_weights_say_what_is_wrong(tmp_path, data, words):
    (tmp_path / "x.caffemodel").write_bytes(data)
    with pytest.raises(CaffeFormatError, match=words) as error:
        read_caffemodel(tmp_path / "x.caffemodel")
    assert str(tmp_path / "x.caffemodel") in str(error.value)


def test_truncation_names_the_byte(tiny, tmp_path):
    data = (tiny / "rll_tpami" / "init.caffemodel").read_bytes()
    (tmp_path / "cut.caffemodel").write_bytes(data[:1000])
    with pytest.raises(CaffeFormatError, match=r"byte \d+: not a whole NetParameter: field \d+ claims") as error:
        read_caffemodel(tmp_path / "cut.caffemodel")
    assert 0 < error.value.offset < 1000


def test_two_layers_of_one_name(tmp_path):
    one, two = (
        chunk(100, chunk(1, b"a") + chunk(7, chunk(7, b"\x08\x01") + chunk(5, v))) for v in (b"\0" * 4, b"\1" * 4)
    )
    (tmp_path / "x").write_bytes(one + two)
    with pytest.warns(UserWarning, match='named "a"'):
        assert read_caffemodel(tmp_path / "x")["a"][0][0] != 0


@pytest.mark.parametrize("fork", FORKS)
def test_solver_states(tiny, fork, tmp_path):
    folder = tiny / fork
    state = read_solverstate(folder / "tiny_iter_3.caffemodel.solverstate")
    original = message_class(fork, "SolverState").FromString(
        (folder / "tiny_iter_3.caffemodel.solverstate").read_bytes()
    )
    assert (state.iter, state.current_step, state.learned_net) == (3, 1, "tiny_iter_3.caffemodel")
    assert [h.ravel().tolist() for h in state.history] == [list(blob.data) for blob in original.history]
    write_solverstate(tmp_path / "new.solverstate", state)
    assert type(original).FromString((tmp_path / "new.solverstate").read_bytes()) == original

    hdf5 = read_solverstate(folder / "tiny_h5_iter_3.solverstate.h5")
    assert (hdf5.iter, hdf5.current_step, hdf5.learned_net) == (3, 1, "tiny_h5_iter_3.caffemodel.h5")
    assert all(np.array_equal(a, b) for a, b in zip(hdf5.history, state.history, strict=True))


def test_hdf5_state_has_caffes_layout(tiny, tmp_path):
    import h5py

    def layout(path):
        items = {}
        with h5py.File(path) as file:
            file.visititems(
                lambda name, x: items.update(
                    {name: (x.shape, x.dtype.str, bytes(x[()])) if isinstance(x, h5py.Dataset) else "group"}
                )
            )
        return items

    for name, write, read in (
        ("tiny_h5_iter_3.solverstate.h5", write_solverstate, read_solverstate),
        ("tiny_h5_iter_3.caffemodel.h5", write_caffemodel, read_caffemodel),
    ):
        original = tiny / "rll_cvpr19" / name
        write(tmp_path / name, read(original))
        ours, theirs = layout(tmp_path / name), layout(original)
        # Layers without blobs are empty groups in Caffe's file; written here from weights alone they are absent.
        assert ours.items() <= theirs.items()
        assert all(theirs[key] == "group" for key in theirs.keys() - ours.keys())


def test_state_without_iteration(tmp_path):
    (tmp_path / "x").write_bytes(weights_class("SolverState")(learned_net="w").SerializeToString())
    with pytest.raises(CaffeFormatError, match="iter"):
        read_solverstate(tmp_path / "x")
    write_solverstate(tmp_path / "y.solverstate.h5", SolverSnapshot(0))
    assert read_solverstate(tmp_path / "y.solverstate.h5") == SolverSnapshot(0)


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 3, 4, 5)])
def test_mean_image(tmp_path, shape):
    mean = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    write_binaryproto(tmp_path / "mean.binaryproto", mean)
    blob = message_class("bvlc", "BlobProto").FromString((tmp_path / "mean.binaryproto").read_bytes())
    assert (blob.num, blob.channels, blob.height, blob.width) == (1, 3, 4, 5) and not blob.HasField("shape")
    assert np.array_equal(read_binaryproto(tmp_path / "mean.binaryproto"), mean.reshape(1, 3, 4, 5))


def test_binaryproto_of_other_shapes_and_of_nothing(tmp_path):
    write_binaryproto(tmp_path / "v", np.arange(3.0))
    assert read_binaryproto(tmp_path / "v").tolist() == [0, 1, 2]
    (tmp_path / "e").write_bytes(b"")
    with pytest.raises(CaffeFormatError, match="binaryproto"):
        read_binaryproto(tmp_path / "e")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_large_model_in_time_and_memory(tmp_path):
    # 45 MB in 70 layers, about BN-Inception: under a second, and less than three times the file held at once.
    path = tmp_path / "big.caffemodel"
    write_caffemodel(path, {f"layer{i}": [np.full((160, 1000), i, np.float32)] for i in range(70)})
    write_caffemodel(tmp_path / "small.caffemodel", {"a": [np.zeros(3, np.float32)]})
    # VmHWM and not getrusage: the latter's peak is inherited from the process that starts this one.
    code = f"""
import re, time
from caffe_compat.formats.caffemodel import read_caffemodel
def peak():
    return int(re.search("VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) * 1024
read_caffemodel({str(tmp_path / "small.caffemodel")!r})
before, start = peak(), time.process_time()
weights = read_caffemodel({str(path)!r})
print(time.process_time() - start, peak() - before)
assert weights["layer69"][0][159, 999] == 69
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, used = map(float, run.stdout.split())
    size = path.stat().st_size
    assert size > 44e6
    assert seconds < 1 and size < used < 3 * size, (seconds, used / size)
