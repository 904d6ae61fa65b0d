"""Comparing a net with a recorded forward, blob by blob."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from caffe_compat.errors import CaffeFormatError
from caffe_compat.net import load_net
from caffe_compat.net.seeded import seed_weights, seeded_images
from caffe_compat.tools.diff import diff_net

FORK = "rll_cvpr19"


@pytest.fixture
def net_file(tiny):
    return tiny / FORK / "deploy.prototxt"


@pytest.fixture
def recorded(tiny):
    """What Caffe computed in float64, with its input: as a pycaffe user would have saved it."""
    blobs = np.load(tiny / FORK / "deploy_forward_f64.npz")
    found = {key.removeprefix("blob:"): blobs[key] for key in blobs.files}
    return {"data": seeded_images((2, 3, 19, 19)).double().numpy(), **found}


def save_sampled(folder, recorded, *, sha256=None):
    """The same in the sampled form."""
    rows, samples = [], {}
    for i, (name, blob) in enumerate(recorded.items()):
        positions = np.random.RandomState(0).randint(0, blob.size, 32)
        samples[f"s{i}"] = blob.reshape(-1)[positions]
        l2 = float(np.sqrt(np.square(blob).sum()))
        rows.append({"name": name, "shape": list(blob.shape), "l2": l2, "samples_key": f"s{i}"})
    folder.mkdir()
    (folder / "manifest_f64.json").write_text(json.dumps({"blobs": rows}))
    np.savez(folder / "blobs_f64.npz", **samples)
    if sha256 is not None:
        (folder / "manifest.json").write_text(json.dumps({"blobs": rows, "input": {"blob": "data", "sha256": sha256}}))
    return folder


def test_whole_blobs_with_the_files_weights(tmp_path, tiny, net_file, recorded):
    np.savez(tmp_path / "blobs.npz", **recorded)
    report = diff_net(net_file, tmp_path / "blobs.npz", weights=tiny / FORK / "init.caffemodel", dialect=FORK)
    assert report.ok and report.dtype == "float64" and len(report.rows) == len(recorded)
    assert [row.blob for row in report.rows] == list(recorded)
    assert "agree to 1e-09" in str(report)
    single = diff_net(
        net_file, tmp_path / "blobs.npz", weights=tiny / FORK / "init.caffemodel", dialect=FORK, dtype="float32"
    )
    assert single.ok and single.tolerance == 1e-4


def test_sampled_blobs_with_seeded_weights(tmp_path, net_file, recorded):
    report = diff_net(net_file, save_sampled(tmp_path / "r", recorded), dialect=FORK)
    assert report.ok and max(row.error for row in report.rows) < 1e-12


def test_the_first_wrong_layer(tmp_path, net_file, recorded):
    recorded["conv2b"] = recorded["conv2b"] * (1 + 1e-7)
    folder = save_sampled(tmp_path / "r", recorded)
    report = diff_net(net_file, folder, dialect=FORK)
    assert not report.ok and report.first_wrong.layer == "conv2b" and len(report.rows) == len(recorded)
    assert [row.blob for row in report.rows if not row.ok] == ["conv2b"]
    stopped = diff_net(net_file, folder, dialect=FORK, stop=True)
    assert stopped.stopped and stopped.rows[-1].layer == "conv2b"
    assert stopped.table().lines()[-1].startswith("conv2b") and stopped.table().lines()[-1].endswith("WRONG")


def test_shapes_and_missing_blobs(tmp_path, net_file, recorded):
    recorded["pool1"], recorded["gone"] = recorded["pool1"][:, :, :4], np.zeros(3)
    report = diff_net(net_file, save_sampled(tmp_path / "r", recorded), dialect=FORK)
    assert {row.blob: row.note for row in report.rows if not row.ok} == {
        "pool1": "(shape 2x6x5x5)",
        "gone": "(not in this net)",
    }


def test_not_a_number_is_wrong(tmp_path, net_file, recorded):
    recorded["fc"] = np.full_like(recorded["fc"], np.nan)
    assert not diff_net(net_file, save_sampled(tmp_path / "r", recorded), dialect=FORK).ok


def test_bad_records(tmp_path, tiny, net_file, recorded):
    with pytest.raises(CaffeFormatError, match=r"manifest\.json"):
        diff_net(net_file, tmp_path, dialect=FORK)
    (tmp_path / "x.npz").write_bytes(b"no zip")
    with pytest.raises(CaffeFormatError, match=r"not an \.npz"):
        diff_net(net_file, tmp_path / "x.npz", dialect=FORK)
    np.savez(tmp_path / "b.npz", **recorded)
    with pytest.raises(CaffeFormatError, match=r"give a \.caffemodel"):
        diff_net(net_file, tmp_path / "b.npz", dialect=FORK)
    del recorded["data"]
    np.savez(tmp_path / "c.npz", **recorded)
    with pytest.raises(CaffeFormatError, match=r"input blobs \['data'\]"):
        diff_net(net_file, tmp_path / "c.npz", weights=tiny / FORK / "init.caffemodel", dialect=FORK)
    recorded["data"] = seeded_images((2, 3, 19, 19)).double().numpy()
    with pytest.raises(CaffeFormatError, match="other values than recorded"):
        diff_net(net_file, save_sampled(tmp_path / "r", recorded, sha256="0" * 64), dialect=FORK, dtype="float64")


def test_seeded_weights_do_not_depend_on_the_net(net_file):
    nets = [load_net(net_file, dialect=FORK), load_net(net_file, dialect=FORK, phase="TRAIN")]
    for net in nets:
        seed_weights(net)
    for ours, theirs in zip(nets[0].learnable, nets[1].learnable):
        assert torch.equal(ours.tensor, theirs.tensor)
