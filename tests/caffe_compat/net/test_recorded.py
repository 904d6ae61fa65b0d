"""Whole nets: every blob of the recorded TEST forwards, and the first TRAIN forward and backward."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from caffe_compat.net import load_net
from caffe_compat.net.seeded import seed_weights, seeded_images
from caffe_compat.tools.diff import TOLERANCE, diff_net

NETS = [
    "rll_cvpr19/sop_test_H",
    "rll_cvpr19/sop_test_L",
    "rll_cvpr19/sop_test_M",
    "rll_cvpr19/sop_test_concat",
    "rll_tpami/sop_test_concat",
    "rll_tpami/sop_test_concat_d64",
    "rll_tpami/market1501_testResNet50_pool5",
    "osm_aaai19/cub_test_M",
]


def run(reference, name, **options):
    fork = name.split("/")[0]
    folder = reference / "nets" / name
    source = json.loads((folder / "manifest.json").read_text())["prototxt"]
    return diff_net(reference / "prototxt" / fork / source, folder, dialect=fork, **options)


def test_no_recorded_net_is_left_out(reference):
    assert sorted(
        str(p.parent.relative_to(reference / "nets")) for p in reference.glob("nets/*/*/manifest.json")
    ) == sorted(NETS)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NETS)
def test_every_blob_of_a_recorded_forward(reference, name, dtype):
    report = run(reference, name, dtype=dtype)
    assert report.dtype == dtype and report.tolerance == TOLERANCE[dtype]
    folder = reference / "nets" / name
    recorded = json.loads((folder / f"manifest{'_f64' if dtype == 'float64' else ''}.json").read_text())["blobs"]
    assert {row.blob for row in report.rows} == {blob["name"] for blob in recorded}
    assert report.ok, str(report)


def test_a_wrong_net_is_caught(reference, tmp_path):
    """One pooling layer with another kernel, as GoogLeNet re-types have it: wrong from there on, right before."""
    source = next((reference / "prototxt").glob("osm_aaai19/CUB_V01/*/test_M.prototxt"))
    text = source.read_text()
    at = text.index("inception_4a/pool")
    wrong = text[:at] + text[at:].replace("pool: AVE", "pool: MAX", 1)
    folder = reference / "nets" / "osm_aaai19" / "cub_test_M"
    report = diff_net(wrong, folder, dialect="osm_aaai19", stop=True)
    assert report.stopped and not report.ok
    assert report.first_wrong.layer == "inception_4a/pool" and all(row.ok for row in report.rows[:-1])


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NETS)
def test_every_blob_on_cuda(reference, cuda, tf32, name, dtype):
    tf32(False)
    report = run(reference, name, dtype=dtype, device="cuda")
    assert report.ok, str(report)


@pytest.mark.slow
def test_every_prototxt_of_the_releases_builds(reference):
    """All layers supported, every BatchNorm joined with its Scale, every ReLU joined with them or in place."""
    files = [p for p in sorted(reference.glob("prototxt/**/*.prototxt")) if p.name != "solver.prototxt"]
    assert len(files) > 30
    for path in files:
        fork = path.relative_to(reference / "prototxt").parts[0]
        training = path.name == "train.prototxt"
        # The CVPR-19 CUB net says negative_threshold, which only the later fork's schema knows.
        rename = {"negative_threshold": "margin"} if fork == "rll_cvpr19" and training else None
        net = load_net(path, dialect=fork, phase="TRAIN" if training else "TEST", rename=rename)
        for step in net.plan.steps:
            assert step.layer.layer_type != "BatchNorm" or step.fused_scale is not None, f"{path}: {step.layer}"
            assert step.layer.layer_type != "ReLU" or step.in_place, f"{path}: {step.layer}"
        assert bool(net.plan.outputs)


@pytest.mark.slow
@pytest.mark.parametrize("run_name", ["rll_cvpr19/sop_m12_f64", "osm_aaai19/mars_f64"])
def test_first_training_step_blob_by_blob(reference, run_name):
    """L2 norm and samples of every blob, and of its gradient where one tensor stands for Caffe's diff.

    In-place blobs and BatchNorm's tops are left out of the gradients: there the diff is that of an earlier value.
    """
    fork, name = run_name.split("/")
    folder = reference / "train" / run_name
    manifest = json.loads((folder / "manifest.json").read_text())
    source = reference / "prototxt" / fork / manifest["source"] / "train.prototxt"
    net = load_net(source, dialect=fork, phase="TRAIN")
    seed_weights(net, statistics=False)
    net.double()
    batch = manifest["batches"]
    inputs = {key: torch.tensor(value) for key, value in manifest["inputs"].items()}
    net(data=seeded_images((batch["N"], 3, batch["H"], batch["H"]), 100), **inputs)
    with np.load(folder / "trace.npz") as trace:
        samples, diffs = trace["iter1_blob_data_samples"], trace["iter1_blob_diff_samples"]
    rewritten = {top for step in net.plan.steps for top in step.tops if top in step.bottoms}
    rewritten |= {step.tops[0] for step in net.plan.steps if step.fused_scale is not None}
    rewritten |= {step.fused_top for step in net.plan.steps if step.fused_relu}
    graded = []
    for index, recorded in enumerate(manifest["iter1_blobs"]):
        name = recorded["name"]
        blob = net.blobs.get(name)
        if blob is None:  # an input that nothing reads
            continue
        compare(name, blob, recorded["data"]["l2"], samples[index], 1e-9)
        if blob.requires_grad and name not in rewritten:
            blob.retain_grad()
            graded.append((name, blob, recorded["diff"]["l2"], diffs[index]))
    net.loss().backward()
    assert len(graded) > 100
    for name, blob, l2, values in graded:
        grad = blob.grad if blob.grad is not None else torch.zeros_like(blob)
        compare(f"diff of {name}", grad, l2, values, 1e-9)


def compare(name, blob, l2, samples, tolerance):
    blob = blob.detach().numpy()
    positions = np.random.RandomState(0).randint(0, blob.size, len(samples)) if blob.size >= len(samples) else None
    norm = np.sqrt(np.square(blob).sum())
    assert abs(norm - l2) <= tolerance * l2 + 1e-14, f"{name}: norm {norm}, recorded {l2}"
    if positions is not None:
        error = np.abs(blob.reshape(-1)[positions] - samples).max()
        assert error <= tolerance * l2 / np.sqrt(blob.size) + 1e-14, f"{name}: error {error}"
