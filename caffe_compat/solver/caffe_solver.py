"""Solver: a solver.prototxt and its net, stepped as Caffe's Solver steps them (solver.cpp, sgd_solver.cpp)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from caffe_compat.errors import CaffeFormatError, DialectError, UnsupportedLayerError
from caffe_compat.formats import prototxt
from caffe_compat.formats.solverstate import SolverSnapshot, read_solverstate, write_solverstate
from caffe_compat.net import CaffeNet, load_net
from caffe_compat.schema import dialect_of
from caffe_compat.solver.lr_policy import LearningRate
from caffe_compat.solver.optim import (
    CaffeAdaDelta,
    CaffeAdaGrad,
    CaffeAdam,
    CaffeNesterov,
    CaffeOptimizer,
    CaffeRMSProp,
    CaffeSGD,
)

#: Solver type -> class and the proto fields that it reads besides the common ones.
_TYPES: dict[str, tuple[type[CaffeOptimizer], tuple[str, ...]]] = {
    "SGD": (CaffeSGD, ("momentum",)),
    "Nesterov": (CaffeNesterov, ("momentum",)),
    "AdaGrad": (CaffeAdaGrad, ("momentum", "delta")),
    "RMSProp": (CaffeRMSProp, ("momentum", "delta", "rms_decay")),
    "AdaDelta": (CaffeAdaDelta, ("momentum", "delta")),
    "Adam": (CaffeAdam, ("momentum", "momentum2", "delta")),
}
#: SolverParameter field of the TPAMI fork -> attribute of its loss.
_ANNEALED = {
    "negative_threshold": "negative_threshold",
    "pn_margin": "pn_margin",
    "p_temperature": "T_p",
    "n_temperature": "T_n",
}

Inputs = Mapping[str, Any]


class Solver:
    """Trains a CaffeNet as Caffe's Solver does; drop-in for `caffe.Solver` driven by `step` from MATLAB or Python.

    Args:
        solver: path of a solver.prototxt, its text, or a SolverParameter message.
        net: the net to train; None builds the TRAIN net that the solver names (`net`, `train_net`, or their `_param`
            forms). A path is looked up beside the solver file first, then from the working directory.
        dialect: Caffe fork; None takes the one whose fields the solver file uses, for the net too, else the net's. It
            decides what differs between the forks:

    * `rll_cvpr19`, `rll_tpami`: BatchNorm's running sums are ordinary parameters (lr_mult 1, decay_mult 1). Nothing
      gives them a gradient, but weight decay and momentum shrink all three, so after one iteration the divisor is
      slightly below 1. Without this, the statistics differ by 1e-7 relative per step at the published settings.
      `osm_aaai19` and `bvlc` mask them with lr_mult 0.
    * `rll_tpami`: the loss top of a forward pass is the previous backward's (`logged_loss` shows that one, 0 at first);
      what `step` returns is read after the step and is the batch's own loss.
    * `rll_tpami`: after each update, negative_threshold, pn_margin, T_p and T_n of the LAST layer of the net move
      towards the solver's values by (value - target) / (max_iter - iter + 1), in float32. Other loss layers keep the
      prototxt's values, though all three heads use the same loss. A .solverstate does not hold them: a restored
      solver starts again from the prototxt's values. Where the divisor is 0 (iter = max_iter + 1) the original makes
      NaN of them; here they stay.

    `random_seed` of the solver seeds the fillers of a net built here (not Caffe's random stream).

    Attributes:
        net, optimizer, param (the SolverParameter), iter (updates done), logged_loss (weighted total that Caffe prints).

    Raises CaffeFormatError, DialectError, UnsupportedLayerError as `load_net`; CaffeFormatError also for an unknown solver
    type, learning-rate policy or regularisation.
    """

    def __init__(self, solver: str | Path | Any, *, net: CaffeNet | None = None, dialect: str | None = None) -> None:
        folder = None
        file = None
        if isinstance(solver, str | Path):
            param = prototxt.read_solver(solver, dialect=dialect)
            # A string with a line break or brace is prototxt text, as read_solver takes it.
            if isinstance(solver, Path) or not set(solver) & set("\n{"):
                file, folder = Path(solver), Path(solver).parent
        else:
            param = solver
        with _of_file(file):
            # A solver with stock fields only says nothing about the net's dialect.
            own = dialect_of(param) if dialect is None and dialect_of(param) != "bvlc" else dialect
            self.net = _build_net(param, folder, own) if net is None else net
            self.dialect = dialect or self.net.dialect
            if dialect_of(param) != self.dialect:
                # Defaults belong to the dialect (rms_decay, annealing targets), so the text is read once more in it.
                param = prototxt.parse(prototxt.write(param), "SolverParameter", self.dialect)
            self.param = prototxt.upgrade_solver(param)
            self.rate = LearningRate(self.param)
            self.optimizer = self._make_optimizer()
        self.iter = 0
        self.logged_loss = 0.0

    def _make_optimizer(self) -> CaffeOptimizer:
        p = self.param
        if p.type not in _TYPES:
            raise ValueError(f"unknown solver type {p.type!r}; Caffe has {', '.join(_TYPES)}")
        cls, fields = _TYPES[p.type]
        groups = [{"params": [b.tensor], "lr_mult": b.lr_mult, "decay_mult": b.decay_mult} for b in self.net.learnable]
        return cls(
            groups,
            lr=self.rate.base_lr,
            weight_decay=p.weight_decay,
            regularization_type=p.regularization_type,
            clip_gradients=p.clip_gradients,
            iter_size=p.iter_size,
            **{name: getattr(p, name) for name in fields},
        )

    def _follow_net(self) -> None:
        """Take up blobs that `net.double()` or `net.to()` replaced (buffers), and their history's type and device."""
        for group, blob in zip(self.optimizer.param_groups, self.net.learnable):
            (old,) = group["params"]
            new = blob.tensor
            state = self.optimizer.state.pop(old, None) if old is not new else self.optimizer.state.get(old)
            group["params"] = [new]
            if state:
                state["history"] = [h.to(device=new.device, dtype=new.dtype) for h in state["history"]]
                self.optimizer.state[new] = state

    def step(self, inputs: Inputs | Sequence[Inputs]) -> dict[str, float]:
        """One iteration: forward, backward, update. Returns each loss top (unweighted) as its blob stands afterwards.

        inputs: the net's input blobs by name; with `iter_size` above 1, a sequence of that many such mappings, whose
            gradients are summed and averaged and whose losses are averaged.
        """
        batches = [inputs] if isinstance(inputs, Mapping) else list(inputs)
        if len(batches) != self.param.iter_size:
            raise ValueError(f"iter_size is {self.param.iter_size}, got {len(batches)} batch(es)")
        self._follow_net()
        self.optimizer.zero_grad(set_to_none=True)
        read: list[tuple[str, torch.Tensor]] = []
        for batch in batches:
            self.net(**batch)
            loss = self.net.loss()
            if loss.requires_grad:
                loss.backward()
            read += [("", loss.detach()), *self._losses()]
        rate = self.rate(self.iter)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        if self.dialect == "rll_tpami":
            self._anneal()
        self.iter += 1
        sums = dict.fromkeys((name for name, _ in read), 0.0)
        # One wait for all of them, after the update has been launched; float64 holds each as it is.
        for (name, _), value in zip(read, torch.stack([value.double() for _, value in read]).tolist()):
            sums[name] += value
        self.logged_loss = sums.pop("") / len(batches)
        return {name: value / len(batches) for name, value in sums.items()}

    def _losses(self) -> list[tuple[str, torch.Tensor]]:
        """Name and () value of each loss top; a name that occurs twice keeps its last."""
        values = {}
        for step in self.net.plan.steps:
            for name, weight in zip(step.tops, step.loss_weights):
                if weight:
                    # A layer that computes its loss in Backward (TPAMI's V12) has it in `reported` by now.
                    stale = getattr(step.layer, "reported", None)
                    values[name] = (self.net.blobs[name] if stale is None else stale).detach().sum()
        return list(values.items())

    def _anneal(self) -> None:
        loss = getattr(self.net.plan.layers[-1], "loss", None)
        divisor = np.float32(self.param.max_iter - self.iter + 1)
        if divisor == 0 or not all(hasattr(loss, name) for name in _ANNEALED.values()):
            return
        for field, name in _ANNEALED.items():
            value = np.float32(getattr(loss, name))
            setattr(loss, name, float(value - (value - np.float32(getattr(self.param, field))) / divisor))

    # -- snapshots

    def _snapshot_names(self, prefix: str | Path) -> tuple[Path, Path]:
        stem = f"{prefix}_iter_{self.iter}"
        if self.param.DESCRIPTOR.fields_by_name["snapshot_format"].enum_type.values_by_name["HDF5"].number == (
            self.param.snapshot_format
        ):
            return Path(f"{stem}.caffemodel.h5"), Path(f"{stem}.solverstate.h5")
        # The forks append to the model's name; stock Caffe replaces its suffix.
        state = f"{stem}.solverstate" if self.dialect == "bvlc" else f"{stem}.caffemodel.solverstate"
        return Path(f"{stem}.caffemodel"), Path(state)

    def save_state(self, prefix: str | Path | None = None) -> tuple[Path, Path]:
        """Write weights and solver state under Caffe's names; returns both paths, (model, state).

        prefix: default the solver's snapshot_prefix. `<prefix>_iter_3.caffemodel` and, in the forks,
            `<prefix>_iter_3.caffemodel.solverstate` (`<prefix>_iter_3.solverstate` in bvlc); with `snapshot_format:
            HDF5`, `.caffemodel.h5` and `.solverstate.h5`. The model is written first, the state names it.
        """
        if prefix is None:
            prefix = self.param.snapshot_prefix
        if not str(prefix):
            raise ValueError("no snapshot prefix: the solver has no snapshot_prefix and none was given")
        self._follow_net()
        model, state = self._snapshot_names(prefix)
        self.net.save_caffemodel(model)
        history = [h.detach().cpu().numpy() for h in self.optimizer.history]
        write_solverstate(state, SolverSnapshot(self.iter, str(model), history, self.rate.current_step))
        return model, state

    def restore(self, state: str | Path) -> None:
        """Continue from a .solverstate or .solverstate.h5: iteration, history, multistep counter and weights.

        The weights are the file that the state names, as written or beside the state. A state that names none leaves
        the net's weights as they are. What TPAMI's annealing did is not in the file, and not touched.

        Raises CaffeFormatError for a damaged file or a state of another net, FileNotFoundError without the weights.
        """
        state = Path(state)
        snapshot = read_solverstate(state)
        own = self.optimizer.history
        shapes = [tuple(h.shape) for h in own]
        found = [tuple(np.shape(h)) for h in snapshot.history]
        if len(found) != len(shapes):
            raise CaffeFormatError(f"{len(found)} history blobs, this solver has {len(shapes)}", file=state)
        for i, (theirs, ours) in enumerate(zip(found, shapes)):
            if theirs != ours:
                raise CaffeFormatError(f"history blob {i} has shape {theirs}, expected {ours}", file=state)
        if snapshot.learned_net:
            self.net.load_caffemodel(_find(snapshot.learned_net, state))
        self._follow_net()
        self.optimizer.load_history(snapshot.history)
        self.iter = snapshot.iter
        self.rate.current_step = snapshot.current_step
        if isinstance(self.optimizer, CaffeAdam):
            self.optimizer.iteration = snapshot.iter


@contextmanager
def _of_file(file: Path | None) -> Iterator[None]:
    """Errors of what stands in the solver file itself say its name."""
    try:
        yield
    except CaffeFormatError as error:
        if file is None or error.file not in (None, "<text>"):
            raise
        raise CaffeFormatError(error.message, file=file) from error
    except (UnsupportedLayerError, DialectError):
        raise
    except (ValueError, ArithmeticError) as error:
        raise CaffeFormatError(str(error), file=file) from error


def _find(learned_net: str, state: Path) -> Path:
    for path in (Path(learned_net), state.parent / Path(learned_net).name):
        if os.path.isfile(path):  # unlike Path.is_file, which raises for a name that no file can have
            return path
    raise FileNotFoundError(f"{state}: its weights {learned_net[:200]} are neither there nor beside it")


def _build_net(param: Any, folder: Path | None, dialect: str | None) -> CaffeNet:
    """The TRAIN net that a solver names, its fillers seeded with random_seed."""
    named = [f for f in ("net", "net_param", "train_net", "train_net_param") if param.HasField(f)]
    if len(named) != 1:
        raise CaffeFormatError(
            f"a solver needs exactly one of net, net_param, train_net, train_net_param; it has {named}"
        )
    source = getattr(param, named[0])
    if isinstance(source, str):
        candidates = [Path(source)] if folder is None else [folder / source, Path(source)]
        found = next((p for p in candidates if os.path.isfile(p)), None)
        if found is None:
            places = " or ".join(str(p)[:300] for p in candidates)
            raise FileNotFoundError(f"the solver's {named[0]} {source[:200]!r} is not there (looked for {places})")
        source = found
    elif dialect is None or dialect != dialect_of(source):
        # A net inside the solver was parsed with the solver's fields only: its own decide about its dialect.
        source = prototxt.read_net(prototxt.write(source), dialect=dialect)
    generator = torch.Generator().manual_seed(param.random_seed) if param.random_seed >= 0 else None
    rules = param.train_state
    level = rules.level if rules.HasField("level") else None
    return load_net(source, phase="TRAIN", dialect=dialect, level=level, stages=list(rules.stage), generator=generator)
