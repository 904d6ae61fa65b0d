"""The nine recorded float64 runs of the authors' solvers, all ten iterations (slow: BN-Inception in float64).

Recorded: Solver<double> of each fork on its own train.prototxt. Summation order alone moves these runs by 3e-15 in four
iterations (recorded with 1 and 2 BLAS threads), and an independent implementation stayed within 1e-12 over ten, so 1e-9
leaves room for another BLAS and still shows any change of the arithmetic: see test_tiny.py for mutations.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from caffe_compat.formats import prototxt
from caffe_compat.net import CaffeNet, load_net
from caffe_compat.net.seeded import seed_weights, seeded_images
from caffe_compat.solver import Solver

TOLERANCE = 1e-9
RUNS = [
    "rll_cvpr19/sop_m12_f64",
    "rll_cvpr19/sop_m12_multistep_f64",
    "rll_cvpr19/cub_margin_renamed_f64",
    "rll_tpami/sop_f64",
    "rll_tpami/sop_anneal_f64",
    "rll_tpami/cub_cvpr19_files_unedited_f64",
    "osm_aaai19/cub_f64",
    "osm_aaai19/cub_multistep_f64",
    "osm_aaai19/mars_f64",
]


def train_net(reference: Path, tree: str, manifest: dict[str, Any]) -> CaffeNet:
    """The run's net with its edits and initial weights, float32 (which is exact: the weights are)."""
    folder = next(reference.glob(f"prototxt/*/{manifest['source']}"))
    rename = {"negative_threshold": "margin"} if "negative_threshold: -> margin:" in manifest["net_edits"] else None
    message = prototxt.read_net(folder / "train.prototxt", dialect=tree, rename=rename)
    batch = json.loads(manifest["net_edits"][0].removeprefix("input_dim batch: "))
    for i, name in enumerate(message.input):
        message.input_dim[4 * i] = batch[name]
    net = load_net(message, phase="TRAIN")
    seed_weights(net, statistics=False)
    return net


def samples(tensor: torch.Tensor) -> np.ndarray:
    flat = tensor.detach().cpu().numpy().ravel()
    return flat[np.random.RandomState(0).randint(0, flat.size, 32)]


def worst(got: np.ndarray, want: np.ndarray, l2: np.ndarray, sizes: np.ndarray) -> float:
    """Largest error over all blobs, each relative to its own RMS."""
    rms = l2 / np.sqrt(sizes)
    return float((np.abs(got - want) / np.maximum(rms, 1e-300)[:, None]).max())


def follow(
    reference: Path, run: str, device: torch.device, *, iterations: int = 10, dtype: torch.dtype = torch.float64
) -> dict[str, float]:
    """Step through a recorded run; largest errors, each relative to its loss or to the RMS of its blob."""
    folder = reference / "train" / run
    manifest, trace = json.loads((folder / "manifest.json").read_text()), np.load(folder / "trace.npz")
    tree = run.split("/")[0]
    solver = Solver(manifest["solver_text"], net=train_net(reference, tree, manifest).to(device, dtype), dialect=tree)

    want_learnable = [(e["layer"], e["blob"], e["lr_mult"], e["decay_mult"]) for e in manifest["learnable"]]
    assert [(b.layer, b.blob, b.lr_mult, b.decay_mult) for b in solver.net.learnable] == want_learnable
    sizes = np.array([b.tensor.numel() for b in solver.net.learnable])

    side, n = manifest["batches"]["H"], manifest["batches"]["N"]
    errors = {"loss": 0.0, "parameters": 0.0, "history": 0.0, "iteration 1 blobs": 0.0}
    for it in range(1, iterations + 1):
        if "last_loss_layer_thr_pn_tp_tn" in trace.files:
            loss = solver.net.plan.layers[-1].loss
            values = [loss.negative_threshold, loss.pn_margin, loss.T_p, loss.T_n]
            assert values == trace["last_loss_layer_thr_pn_tp_tn"][it - 1].tolist()  # float32 arithmetic: equal
        data = seeded_images((n, 3, side, side), seed=99 + it)
        losses = solver.step({"data": data, **manifest["inputs"]})

        got = np.array([losses[name] for name in manifest["loss_blobs"]])
        errors["loss"] = max(errors["loss"], float((np.abs(got - trace["loss"][it - 1]) / trace["loss"][it - 1]).max()))
        assert solver.rate.current_step == trace["current_step"][it - 1]
        if it == 1:
            for row, blob in enumerate(manifest["iter1_blobs"]):
                # Loss tops are compared above: TPAMI's is written by Backward, after the forward pass that is kept.
                if blob["name"] in solver.net.blobs and blob["name"] not in manifest["loss_blobs"]:
                    value = solver.net.blobs[blob["name"]]
                    rms = blob["data"]["l2"] / value.numel() ** 0.5
                    error = np.abs(samples(value) - trace["iter1_blob_data_samples"][row]).max()
                    errors["iteration 1 blobs"] = max(errors["iteration 1 blobs"], float(error / max(rms, 1e-300)))
        if f"param_l2_{it}" in trace.files:
            for kind, tensors in (
                ("parameters", [b.tensor for b in solver.net.learnable]),
                ("history", solver.optimizer.history),
            ):
                key = "param" if kind == "parameters" else "hist"
                l2 = trace[f"{key}_l2_{it}"]
                error = worst(np.stack([samples(t) for t in tensors]), trace[f"{key}_samples_{it}"], l2, sizes)
                norms = np.array([t.detach().norm().item() for t in tensors])
                error = max(error, float((np.abs(norms - l2) / np.maximum(l2, 1e-300)).max()))
                errors[kind] = max(errors[kind], error)
    print(f"{run} on {device}:", {name: f"{value:.1e}" for name, value in errors.items()})
    return errors


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_recorded_trajectory(reference: Path, run: str) -> None:
    errors = follow(reference, run, torch.device("cpu"))
    assert all(value < TOLERANCE for value in errors.values()), errors


@pytest.mark.gpu
@pytest.mark.parametrize("run", RUNS)
def test_recorded_trajectory_on_cuda(reference: Path, cuda: torch.device, run: str) -> None:
    errors = follow(reference, run, cuda)
    assert all(value < TOLERANCE for value in errors.values()), errors


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize(
    "run", ["rll_cvpr19/sop_m12", "rll_cvpr19/cub_margin_renamed", "rll_tpami/sop", "osm_aaai19/cub", "osm_aaai19/mars"]
)
def test_first_float32_step(reference: Path, run: str) -> None:
    """Solver<float>'s first step; later ones drift apart by the order of summation alone (2e-4 at the third).

    The authors' own float32 step is up to 1.9e-4 of a blob's RMS from their float64 step (mars, conv1), so 1e-4 cannot
    be asked everywhere. Both being float32 runs in different orders of summation, three times that recorded distance.
    Without oneDNN, by plain GEMM as in Caffe. The kernel decides how far conv1's weights of osm cub are off: 5e-5 the
    authors' OpenBLAS, 1.1e-4 MKL's for AVX2, 3.2e-4 oneDNN's, 3.7e-4 MKL's for AVX-512. Parameters are held to three times
    the worst of them.
    """
    folder = reference / "train"
    single, double = np.load(folder / run / "trace.npz"), np.load(folder / f"{run}_f64" / "trace.npz")
    manifest = json.loads((folder / run / "manifest.json").read_text())
    sizes = np.array([np.prod(e["shape"]) for e in manifest["learnable"]])
    parameters = worst(single["param_samples_1"], double["param_samples_1"], double["param_l2_1"], sizes)
    kept = [i for i, b in enumerate(manifest["iter1_blobs"]) if b["name"] not in manifest["loss_blobs"]]
    blobs = worst(
        single["iter1_blob_data_samples"][kept],
        double["iter1_blob_data_samples"][kept],
        np.array([manifest["iter1_blobs"][i]["data"]["l2"] for i in kept]),
        np.array([np.prod(manifest["iter1_blobs"][i]["shape"]) for i in kept]),
    )
    with torch.backends.mkldnn.flags(enabled=False):
        errors = follow(reference, run, torch.device("cpu"), iterations=1, dtype=torch.float32)
    assert errors["loss"] < 1e-5
    assert errors["parameters"] < max(1.1e-3, 3 * parameters)
    assert errors["iteration 1 blobs"] < max(1e-4, 3 * blobs)
