"""`TorchEngine` runs a PyTorch release behind the same verbs as `CaffeEngine`, those of `engine.Engine`."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paper_recipes.recipe import Phase, Torch
from paper_recipes.runner.engines import gradients, networks, processes_nets, schedule
from paper_recipes.runner.engines.fast import compile_in_place
from paper_recipes.runner.engines.processes import ReplicaError, Replicas
from ports import determinism, losses
from ports.memory import CrossBatchMemory


class TorchEngine:
    """One PyTorch recipe on one device.

    Args:
        recipe: network, loss, optimiser and phases, at the scale of the run
        classes: number of training classes, for losses with a weight per class
        seed: of the initial values; `weights` replaces those of the backbone
        replicas: the processes that train together
        fast: channels-last memory and a compiled network; the numbers are then not comparable
        dtype: of weights, images and everything after them; float64 converts the float32 values, which is exact

    Raises ReplicaError for "caffe" replicas of a recipe with a memory: each would have another one.
    """

    def __init__(
        self,
        recipe: Torch,
        *,
        classes: int,
        device: torch.device,
        seed: int,
        weights: Path | None = None,
        replicas: Replicas | None = None,
        fast: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.recipe, self.device, self.replicas, self.dtype = recipe, device, replicas or Replicas(), dtype
        if recipe.memory is not None and self.replicas.semantics == "caffe":
            raise ReplicaError("--replicas caffe: each process would fill a memory of its own; use --replicas global")
        torch.manual_seed(determinism.torch_seed(seed, "init"))
        self.net = networks.EmbeddingNet(recipe)
        self.loss = build_loss(recipe, classes)
        if recipe.memory is not None:
            self.loss = CrossBatchMemory(self.loss, **recipe.memory)
        self.import_report = None if weights is None else networks.load_imagenet(self.net, weights)
        self._calibrated = weights is not None
        if self.replicas.sync_bn:
            processes_nets.synchronise(self.net, self.replicas)
        self.net.to(device, dtype)
        self.loss.to(device, dtype)
        self.replicas.take_root_([*self.net.state_dict().values(), *self.loss.parameters()])
        # Of the images and so of all maps after them: oneDNN's kernels take a fifth less of a step in it and are as exact
        # (docs/speed.md). torch's BatchNorm would not be (ports/batch_norm.py); these nets have ours.
        self._layout = torch.channels_last if fast or device.type == "cpu" else torch.preserve_format
        if fast:
            compile_in_place(self.net)
        self.headline = recipe.embedding
        self.updates = 0
        self.learning_rate = self.gradient_norm = 0.0  # of the last step
        self._evaluated: nn.Module = self.net
        self._enter(0)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        """One update; the loss before it."""
        index, done = self._position()
        if index != self._phase:
            self._enter(index)
        phase = self.recipe.phases[index]
        self.learning_rate = schedule.of_phase(phase, done)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self._train_mode()
        embeddings, labels = self.net(self._on_device(images)), labels.to(self.device).long()
        if self.replicas.semantics == "global":
            embeddings, labels = self.replicas.gather(embeddings), self.replicas.gather(labels)
        loss = self.loss(embeddings, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        processes_nets.exchange_gradients(self.replicas, list(self.net.parameters()), list(self.loss.parameters()))
        norm = gradients.norm(self._trained.values())
        self.optimizer.step()
        self.replicas.take_root_(processes_nets.statistics(self.net))
        self.updates += 1
        value, self.gradient_norm = torch.stack([loss.detach().double(), norm.double()]).tolist()  # one wait for both
        return self.replicas.mean_losses({"loss": value})

    def _on_device(self, images: torch.Tensor) -> torch.Tensor:
        return images.to(device=self.device, dtype=self.dtype, memory_format=self._layout)

    def _position(self) -> tuple[int, int]:
        """Which phase the next update belongs to, and how many updates of that phase are done."""
        done = self.updates
        for index, phase in enumerate(self.recipe.phases):
            if done < phase.iterations or index == len(self.recipe.phases) - 1:
                return index, done
            done -= phase.iterations
        raise ValueError("a recipe needs at least one phase")

    def _parameters(self, phase: Phase) -> dict[str, nn.Parameter]:
        parameters = {f"net/{name}": p for name, p in self.net.named_parameters()}
        if phase.trains == "head":
            parameters = {name: p for name, p in parameters.items() if not name.startswith("net/backbone.")}
        return parameters | {f"loss/{name}": p for name, p in self.loss.named_parameters()}

    def _enter(self, index: int) -> None:
        """A new phase has a new optimiser; what it does not train gets no gradient."""
        self._phase = index
        phase = self.recipe.phases[index]
        self._trained = self._parameters(phase)
        for parameter in (*self.net.parameters(), *self.loss.parameters()):
            parameter.requires_grad_(False)
        for parameter in self._trained.values():
            parameter.requires_grad_(True)
        arguments = {key: value for key, value in self.recipe.optimizer.items() if key != "class"}
        make = getattr(torch.optim, self.recipe.optimizer["class"])
        self.optimizer = make(list(self._trained.values()), lr=phase.lr, **arguments)

    def _train_mode(self) -> None:
        self.net.train()
        self.loss.train()
        if self.recipe.frozen_bn:
            _freeze(self.net)

    @torch.no_grad()
    def begin_embedding(self, calibration: Iterable[tuple[torch.Tensor, torch.Tensor]] = ()) -> None:
        """Evaluation mode. `calibration` serves a net from seeded values, whose BatchNorm statistics mean nothing.

        Where the recipe freezes the statistics (its ImageNet weights bring them), those of the calibration images stay
        for the training; otherwise a copy of the net gets them, so that training is not touched.
        """
        self._evaluated = self.net
        if not self._calibrated and self.updates == 0:
            if not self.recipe.frozen_bn:
                self._evaluated = copy.deepcopy(self.net)
            with self.replicas.apart():  # the same images on every process
                _average_statistics(self._evaluated, (self._on_device(images) for images, _ in calibration))
            self._calibrated = self.recipe.frozen_bn
        self._evaluated.eval()

    @torch.no_grad()
    def embed(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Embeddings (N, D) of `dtype` on the CPU under the headline's name."""
        return {self.headline: self._evaluated(self._on_device(images)).to(self.dtype).cpu()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything the next step depends on, besides the iteration: weights, statistics, memory, optimiser state."""
        tensors = {f"net/{name}": value for name, value in self.net.state_dict().items()}
        tensors |= {f"loss/{name}": value for name, value in self.loss.state_dict().items()}
        for name, parameter in self._trained.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                if value is not None:  # SGD's first momentum
                    tensors[f"optimizer/{name}/{key}"] = torch.as_tensor(value)
        return tensors

    @torch.no_grad()
    def load_tensors(self, tensors: dict[str, torch.Tensor], iteration: int) -> None:
        """Continue after `iteration` steps; `tensors` come from `tensors()` of an engine of the same recipe."""
        self.load_weights(tensors)
        self.loss.load_state_dict(_part(tensors, "loss/"))
        self.updates, self._calibrated = iteration, True
        # The state of the phase that the last update belonged to: at a phase's end the next step makes a new optimiser.
        self.updates = max(iteration - 1, 0)
        self._enter(self._position()[0])
        self.updates = iteration
        for name, parameter in self._trained.items():
            state = _part(tensors, f"optimizer/{name}/")
            if state:
                self.optimizer.state[parameter] = {
                    # Adam counts its steps on the CPU
                    key: value.clone() if key == "step" else value.to(self.device, copy=True)
                    for key, value in state.items()
                }

    def load_weights(self, tensors: dict[str, torch.Tensor]) -> None:
        """The network alone, for evaluation."""
        self.net.load_state_dict(_part(tensors, "net/"))
        self._calibrated = True


def build_loss(recipe: Torch, classes: int) -> nn.Module:
    """The recipe's loss, without its memory. `classes` of the training data take the place of its `num_classes`.

    Its signature says whether it has that: always where it must be given (a proxy for each class), and where the recipe names
    it if it may be left out (a boundary for each class, instead of one). Raises ValueError for a loss that `ports` does not
    have or that the recipe's arguments do not fit.
    """
    arguments: dict[str, Any] = {key: value for key, value in recipe.loss.items() if key != "class"}
    name = recipe.loss["class"]
    if name not in losses.__all__:
        raise ValueError(f"ports.losses has no {name!r}; it has {', '.join(losses.__all__)}")
    make = getattr(losses, name)
    wanted = inspect.signature(make).parameters.get("num_classes")
    if wanted is not None and (wanted.default is inspect.Parameter.empty or "num_classes" in arguments):
        arguments["num_classes"] = classes
    try:
        return make(**arguments)
    except TypeError as error:
        raise ValueError(f"loss {name}: {str(error).removeprefix(f'{name}.__init__() ')}") from error


def _average_statistics(net: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Running statistics = plain mean over the batches; without batches they stay."""
    layers = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    net.train()
    for index, images in enumerate(batches):
        for layer in layers if index == 0 else ():
            layer.reset_running_stats()
            layer.momentum = None  # cumulative
        net(images)
    for layer, momentum in zip(layers, momenta):
        layer.momentum = momentum


def _freeze(net: nn.Module) -> None:
    """Statistics stay; gamma and beta are trained (research-ms-loss's and Deep_Metric's set_bn_eval)."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
