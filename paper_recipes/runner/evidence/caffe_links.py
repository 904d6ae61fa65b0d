"""Links that Caffe computed: network, loss, solver."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import golden
from caffe_compat import load_net
from caffe_compat.formats import prototxt
from caffe_compat.layers import LAYERS
from caffe_compat.net.seeded import seed_weights, seeded_images
from caffe_compat.solver import Solver
from paper_recipes import registry
from paper_recipes.nets.messages import to_message
from paper_recipes.recipe import Caffe, Recipe
from paper_recipes.runner.evidence.row import Row, recorded, rule_checked, unverified

_STEPS = 3  # parameters are recorded after that many


def _sample(blob: torch.Tensor) -> NDArray[Any]:
    """The 32 values of a blob that the recordings hold."""
    flat = blob.detach().reshape(-1).numpy()
    return flat[np.random.RandomState(0).randint(0, flat.size, 32)]


def network(recipe: Recipe) -> Row:
    """Every blob of the recipe's headline test net, seeded weights, float64, against the recording that shares most of them.

    Weights are seeded by layer name, so a recorded net is known by the names and shapes of its blobs.
    """
    caffe = recipe.the_caffe()
    net = load_net(to_message(next(iter(caffe.test_nets.values())), "NetParameter", caffe.dialect))
    seed_weights(net)
    net.double()
    with torch.no_grad():
        net(data=seeded_images((2, *net.inputs["data"][1:])).double())
    shapes = {name: list(blob.shape) for name, blob in net.blobs.items()}
    shared: list[dict[str, Any]] = []
    chosen, fork = None, ""
    for folder in sorted((golden.DATA / "nets").iterdir()):
        manifest = json.loads((folder / "manifest_f64.json").read_text(encoding="utf-8"))
        same = [blob for blob in manifest["blobs"] if shapes.get(blob["name"]) == blob["shape"]]
        if len(same) > len(shared):
            shared, chosen, fork = same, folder, manifest["tree"]
    reference = "authors' Caffe, TEST forward"
    if chosen is None:
        return unverified("network", reference, "no recording: bring blobs of this net from the authors' Caffe")
    worst = 0.0
    with np.load(chosen / "blobs_f64.npz") as arrays:
        for blob in shared:
            rms = blob["l2"] / np.sqrt(np.prod(blob["shape"]))
            error = np.abs(_sample(net.blobs[blob["name"]]) - arrays[blob["samples_key"]]).max()
            worst = max(worst, float(error / rms))
    if len(shared) == len(shapes):
        other = "" if fork == caffe.dialect else f", recorded in {fork}, whose layers are the same"
        return recorded("network", reference, f"{len(shared)} blobs, float64, relative to RMS{other}", worst, 1e-9)
    missing = len(shapes) - len(shared)
    compared = f"{len(shared)} blobs shared with {chosen.name}, float64, relative to RMS; {missing} have no recording"
    return rule_checked("network", reference, compared, worst, 1e-9)


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
        return unverified("loss gradient", reference, "no recording: bring Forward and Backward of the authors' layer")
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

    The test suite follows all ten recorded steps; three keep this under half a minute. A recipe without a recording is
    held to its sibling's, which has the same layers and the same solver: what then stays unseen is its own settings.
    """
    own, sibling = recipe.records.training_run, recipe.records.stands_in
    reference = "authors' Solver, train net and solver file"
    compared = f"losses, parameters, momentum after {_STEPS} steps, float64"
    if own:
        return recorded("solver", reference, compared, _follow(recipe, own), 1e-9)
    if not sibling:
        return unverified("solver", reference, "no recording: bring losses and parameters from the authors' Caffe")
    other = registry.get(sibling)
    worst = _follow(other, other.records.training_run)
    return rule_checked("solver", reference, f"{compared}, of {sibling}; this one's own are not recorded", worst, 1e-9)


def _follow(recipe: Recipe, run: str) -> float:
    """Largest error over the recorded steps: of losses, relative; of parameters and momentum, relative to the blob's RMS."""
    caffe = recipe.the_caffe()
    folder = golden.DATA / "train" / run
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    net = load_net(_at_batch_of(caffe, manifest), phase="TRAIN").double()
    seed_weights(net, statistics=False)
    running = Solver(to_message(caffe.solver, "SolverParameter", caffe.dialect), net=net)
    inputs = {name: torch.tensor(values) for name, values in manifest["inputs"].items()}
    count, side = manifest["batches"]["N"], manifest["batches"]["H"]
    with np.load(folder / "trace.npz") as trace:
        worst = 0.0
        for iteration in range(_STEPS):
            images = seeded_images((count, 3, side, side), seed=100 + iteration).double()
            got = running.step({"data": images, **inputs})
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
    return worst


def _at_batch_of(caffe: Caffe, manifest: dict[str, Any]) -> Any:
    """The recipe's train net at the recorded run's batch, the one edit that all recordings have in common."""
    message = to_message(caffe.train_net, "NetParameter", caffe.dialect)
    edit = next(line for line in manifest["net_edits"] if line.startswith("input_dim batch: "))
    for name, batch in json.loads(edit.removeprefix("input_dim batch: ")).items():
        message.input_dim[4 * list(message.input).index(name)] = batch
    return message
