"""`CaffeEngine` runs a Caffe release behind the six verbs of `engine.Engine`: step; begin_embedding and embed; tensors,
load_tensors and load_weights.

The training net stands under Caffe's solver; the test nets take its weights, matched by layer name as the authors' scripts
do through a .caffemodel.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

import caffe_compat
from paper_recipes.nets.messages import to_message
from paper_recipes.recipe import Caffe
from paper_recipes.runner.engines import gradients
from paper_recipes.runner.engines import starting_weights as weights_file
from paper_recipes.runner.engines.fast import compile_in_place
from paper_recipes.runner.engines.processes import Replicas
from paper_recipes.runner.engines.processes_nets import join_solver
from ports import determinism


class CaffeEngine:
    """One Caffe recipe on one device.

    Args:
        caffe: nets and solver
        seed: of the fillers, used where `weights` lacks a layer or is None
        weights: path of a .caffemodel (or a converted .pth, .safetensors) to start from
        replicas: the processes that train together
        fast: compile the training net; its numbers are then not comparable
        dtype: of weights, images and everything after them; float64 converts the float32 values, which is exact
    """

    def __init__(
        self,
        caffe: Caffe,
        *,
        device: torch.device,
        seed: int,
        weights: Path | None = None,
        replicas: Replicas | None = None,
        fast: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.caffe, self.device, self.replicas, self.dtype = caffe, device, replicas or Replicas(), dtype
        torch.manual_seed(determinism.torch_seed(seed, "init"))
        net = caffe_compat.load_net(
            to_message(caffe.train_net, "NetParameter", caffe.dialect), phase="TRAIN", dialect=caffe.dialect
        )
        self.import_report = None if weights is None else weights_file.into_caffe(net, weights)
        # A third less time on a CPU. Convolutions add up in another order, which is rounding; BatchNorm's sums do not
        # depend on the layout (`ports.batch_norm`; torch's own would be wrong by 1e-2). docs/speed.md has the figures.
        net.to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        net.keep_blobs = False  # nobody reads a step's blobs after it, and autograd keeps those that it needs
        solver = to_message(caffe.solver, "SolverParameter", caffe.dialect)
        self.solver = caffe_compat.Solver(solver, net=net, dialect=caffe.dialect)
        join_solver(self.solver, self.replicas)
        self._norm = torch.zeros(())
        self.solver.optimizer.register_step_pre_hook(self._measure)  # after the exchange of gradients
        if fast:
            compile_in_place(net)
        self.headline = next(iter(caffe.test_nets))
        self._columns = columns(caffe)
        self.test_net = caffe_compat.load_net(
            to_message(caffe.test_nets[self.headline], "NetParameter", caffe.dialect),
            phase="TEST",
            dialect=caffe.dialect,
        ).to(device=device, dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.test_net.keep_blobs = False

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        """One iteration of the solver; the named losses it reports."""
        losses = self.solver.step(self._inputs(images, labels))
        self.replicas.take_root_(self._statistics)  # parallel.cpp: the root's blobs begin the next iteration
        return self.replicas.mean_losses(losses)

    def _measure(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._norm = gradients.norm(p for group in optimizer.param_groups for p in group["params"])

    @property
    def gradient_norm(self) -> float:
        """Of the last step, over all parameters, before the solver regularises or scales it."""
        return float(self._norm)

    @property
    def _statistics(self) -> list[torch.Tensor]:
        return [blob for layer in self.solver.net if layer.layer_type == "BatchNorm" for blob in layer.blobs]

    def _inputs(self, images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        inputs = {"data": self._on_device(images), "label": labels.to(self.device)}
        names, sizes = self.caffe.train_net["input"], self.caffe.train_net["input_dim"]
        if "tracklet_label" in names:  # the batch is tracklet after tracklet, as many as the net says: one label each
            tracklets = self.replicas.share(sizes[4 * names.index("tracklet_label")])
            inputs["tracklet_label"] = inputs["label"].view(tracklets, -1)[:, 0]
        return inputs

    def _on_device(self, images: torch.Tensor) -> torch.Tensor:
        return images.to(device=self.device, dtype=self.dtype, memory_format=torch.channels_last, non_blocking=True)

    @property
    def learning_rate(self) -> float:
        """Of the last step."""
        return self.solver.optimizer.param_groups[0]["lr"]

    @torch.no_grad()
    def begin_embedding(self, calibration: Iterable[tuple[torch.Tensor, torch.Tensor]] = ()) -> None:
        """Copy the training net's weights, statistics included, into the test net by layer name.

        A net from the fillers has no BatchNorm statistics before its first step (Caffe divides by sqrt(1e-5) then, which
        overflows on the way up). `calibration`, batches of (images, labels), gives the test net those of a few forward
        passes; the training net gets its empty ones back, so that training is not touched.
        """
        net = self.solver.net
        statistics = self._statistics
        fresh = not torch.stack([blob.any() for blob in statistics]).any() if statistics else True
        if fresh:
            with self.replicas.apart():  # the same images on every process
                for images, labels in calibration:
                    net(**self._inputs(images, labels))
        for layer, blobs in self.test_net.params.items():
            for blob, source in zip(blobs, net.params[layer]):
                blob.copy_(source)
        if fresh:
            for blob in statistics:
                blob.zero_()

    @torch.no_grad()
    def embed(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Raw embeddings of each test net, (N, D) of `dtype` on the CPU."""
        outputs = self.test_net(data=self._on_device(images))
        embeddings = outputs[self.caffe.embedding_blob].flatten(1).cpu()
        return {name: embeddings[:, columns] for name, columns in self._columns.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything that the next step depends on, besides the iteration: blobs, momentum, multistep counter."""
        solver = self.solver
        tensors = {
            f"blob/{name}/{i}": blob for name, blobs in solver.net.params.items() for i, blob in enumerate(blobs)
        }
        tensors |= {f"history/{i}": history for i, history in enumerate(solver.optimizer.history)}
        return tensors | {"current_step": torch.tensor(solver.rate.current_step)}

    @torch.no_grad()
    def load_tensors(self, tensors: dict[str, torch.Tensor], iteration: int) -> None:
        """Continue after `iteration` steps; `tensors` come from `tensors()` of an engine of the same recipe."""
        solver = self.solver
        self.load_weights(tensors)
        count = sum(name.startswith("history/") for name in tensors)
        solver.optimizer.load_history([tensors[f"history/{i}"] for i in range(count)])
        solver.rate.current_step = int(tensors["current_step"])
        solver.iter = iteration

    @torch.no_grad()
    def load_weights(self, tensors: dict[str, torch.Tensor]) -> None:
        """The training net's blobs alone, for evaluation."""
        for name, blobs in self.solver.net.params.items():
            for i, blob in enumerate(blobs):
                blob.copy_(tensors[f"blob/{name}/{i}"])


def columns(caffe: Caffe) -> dict[str, Any]:
    """Test net -> which columns of the headline net's embedding are its own: one forward yields every head."""
    headline = next(iter(caffe.test_nets))
    if len(caffe.test_nets) == 1:
        return {headline: slice(None)}
    of_layer = _columns(caffe.test_nets[headline], caffe.embedding_blob)
    return {headline: slice(None)} | {
        name: torch.cat([of_layer[layer] for layer in _embedding_layers(net, caffe.embedding_blob)])
        for name, net in caffe.test_nets.items()
        if name != headline
    }


def _embedding_layers(net: dict[str, Any], blob: str) -> list[str]:
    """Names of the layers whose tops make up the embedding: the makers of its Concat's bottoms, or its one maker."""
    makers = {top: layer for layer in net["layer"] for top in layer["top"]}
    last = makers[blob]
    return [makers[bottom]["name"] for bottom in last["bottom"]] if last["type"] == "Concat" else [last["name"]]


def _columns(net: dict[str, Any], blob: str) -> dict[str, torch.Tensor]:
    """Layer name -> which columns of the net's embedding it makes."""
    sizes = {layer["name"]: layer.get("inner_product_param", {}).get("num_output") for layer in net["layer"]}
    names = _embedding_layers(net, blob)
    parts = torch.arange(sum(sizes[name] for name in names)).split([sizes[name] for name in names])
    return dict(zip(names, parts))
