"""Links that Caffe computed: network, loss, solver."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import torch

import golden
from caffe_compat import load_net, prototxt
from caffe_compat.layers import LAYERS
from caffe_compat.seeded import seed_weights, seeded_images
from caffe_compat.solver import Solver
from paper_recipes.nets.messages import to_message
from paper_recipes.recipe import Recipe
from paper_recipes.runner.evidence import Row, open_link, recorded

# recipe dialect and data set -> recorded TEST forward of its headline net, recorded training run in float64
_FORWARDS = {("rll_cvpr19", data): "nets/rll_cvpr19_sop_test_concat" for data in ("sop", "cub")}  # one and the same net
_RUNS = {("rll_cvpr19", "sop"): "train/rll_cvpr19_sop_m12_f64"}
_STEPS = 3  # parameters are recorded after 1, 3 and 10


def _sample(blob: torch.Tensor) -> np.ndarray:
    """The 32 values of a blob that the recordings hold."""
    flat = blob.detach().reshape(-1).numpy()
    return flat[np.random.RandomState(0).randint(0, flat.size, 32)]


def network(recipe: Recipe) -> Row:
    """Every blob of the recipe's headline test net, seeded weights, float64."""
    caffe = recipe.the_caffe()
    name = _FORWARDS.get((caffe.dialect, recipe.dataset))
    reference = "authors' Caffe, TEST forward"
    if name is None:
        return open_link("network", reference, "no recording of this net")
    folder = golden.DATA / name
    manifest = json.loads((folder / "manifest_f64.json").read_text(encoding="utf-8"))
    net = load_net(to_message(next(iter(caffe.test_nets.values())), "NetParameter", caffe.dialect))
    seed_weights(net)
    net.double()
    with torch.no_grad():
        net(data=seeded_images(tuple(manifest["blobs"][0]["shape"])).double())
    worst = 0.0
    with np.load(folder / "blobs_f64.npz") as arrays:
        for blob in manifest["blobs"]:
            rms = blob["l2"] / np.sqrt(np.prod(blob["shape"]))
            error = np.abs(_sample(net.blobs[blob["name"]]) - arrays[blob["samples_key"]]).max()
            worst = max(worst, float(error / rms))
    return recorded("network", reference, f"{len(manifest['blobs'])} blobs, float64, relative to RMS", worst, 1e-9)


def loss(recipe: Recipe) -> Row:
    """Value and gradient of the recipe's loss layers on every stored recorded batch of that type, float64."""
    caffe = recipe.the_caffe()
    types = {layer["type"] for layer in caffe.train_net["layer"] if "loss_weight" in layer}
    cases = json.loads((golden.DATA / "losses_caffe" / "cases.json").read_text(encoding="utf-8"))
    worst, count = 0.0, 0
    with np.load(golden.DATA / "losses_caffe" / "cases.npz") as arrays:
        for name, case in cases.items():
            dialect, layer_type, _ = name.split("/")
            if dialect == caffe.dialect and layer_type in types and case["stored"]:
                worst = max(worst, _loss_error(name, case, arrays, dialect, layer_type))
                count += 1
    reference = "authors' Caffe layer, Forward and Backward"
    if count == 0:
        return open_link("loss gradient", reference, "no recording of this loss")
    compared = f"{', '.join(sorted(types))}: value and gradient of {count} batches, float64, relative to largest entry"
    return recorded("loss gradient", reference, compared, worst, 1e-10)


def _loss_error(name: str, case: dict[str, Any], arrays: Any, dialect: str, layer_type: str) -> float:
    keys = [
        key for i in range(4) if (key := f"{name}:input:bottom_{i}") in arrays
    ]  # embeddings, labels, perhaps weights
    bottoms = [torch.from_numpy(arrays[key]).double() for key in keys]
    bottoms[0].requires_grad_()
    message = prototxt.parse(case["layer_param"], "LayerParameter", dialect)
    layer = LAYERS[layer_type](message, [tuple(b.shape) for b in bottoms], dialect=dialect, phase="TRAIN")
    (top,) = layer(*bottoms)
    (arrays[f"{name}:float64:top_0_diff"].item() * top.sum()).backward()
    # The TPAMI layer computes its loss in Backward; `reported` is what its top holds afterwards.
    value = float(getattr(layer, "reported", top).detach().sum())
    pairs = [
        (np.asarray(value), arrays[f"{name}:float64:top_0"].reshape(())),
        (bottoms[0].grad.numpy().reshape(-1), arrays[f"{name}:float64:bottom_0_diff"].reshape(-1)),  # type: ignore[union-attr]
    ]
    # rtol 1e-10 with atol 1e-12: entries below 0.01 count as 0.01
    return max(float((np.abs(got - want) / (0.01 + np.abs(want).max())).max()) for got, want in pairs)


def solver(recipe: Recipe) -> Row:
    """The recorded training run: losses of three steps and every parameter and momentum blob after them, float64.

    The test suite follows all ten recorded steps; three keep this under half a minute.
    """
    caffe = recipe.the_caffe()
    name = _RUNS.get((caffe.dialect, recipe.dataset))
    reference = "authors' Solver, train net and solver file"
    if name is None:
        return open_link("solver", reference, "no recording of this training run")
    folder = golden.DATA / name
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    threshold = {"contrastive_loss_param_v2": {"margin": 1.2, "pn_margin": 0.4}}  # the recorded run's setting
    description = copy.deepcopy(caffe.train_net)
    for layer in description["layer"]:
        if "contrastive_loss_param_v2" in layer:
            layer |= threshold
    net = load_net(to_message(description, "NetParameter", caffe.dialect), phase="TRAIN").double()
    seed_weights(net, statistics=False)
    running = Solver(to_message(caffe.solver, "SolverParameter", caffe.dialect), net=net)
    labels = torch.tensor(manifest["inputs"]["label"])
    count, side = manifest["batches"]["N"], manifest["batches"]["H"]
    with np.load(folder / "trace.npz") as trace:
        worst = 0.0
        for iteration in range(_STEPS):
            images = seeded_images((count, 3, side, side), seed=100 + iteration).double()
            got = running.step({"data": images, "label": labels})
            want = dict(zip(manifest["loss_blobs"], trace["loss"][iteration]))
            worst = max(worst, *(abs(got[blob] - want[blob]) / abs(want[blob]) for blob in want))
        for kind, blobs in (
            ("param", [b.tensor for b in running.net.learnable]),
            ("hist", running.optimizer.history),
        ):
            for i, blob in enumerate(blobs):
                rms = trace[f"{kind}_l2_{_STEPS}"][i] / np.sqrt(blob.numel())
                if rms > 0:
                    error = np.abs(_sample(blob) - trace[f"{kind}_samples_{_STEPS}"][i]).max()
                    worst = max(worst, float(error / rms))
    return recorded("solver", reference, f"losses, parameters, momentum after {_STEPS} steps, float64", worst, 1e-9)
