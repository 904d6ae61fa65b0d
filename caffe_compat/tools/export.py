"""ONNX files of CaffeNets: exported, checked by onnx, and compared with onnxruntime on fresh inputs before they exist."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from caffe_compat.errors import CaffeFormatError
from caffe_compat.net import CaffeNet, load_net
from caffe_compat.preprocessing import METADATA_KEY, PREPROCESSING, Preprocessing
from ports.files import atomic_path

#: Largest difference to onnxruntime, relative to the RMS of the output: DESIGN's bound for a whole float32 net.
TOLERANCE = 1e-4
MIN_OPSET = 19


@dataclass
class ExportReport:
    """What was written, and how far onnxruntime is from CaffeNet: per output, over all tried batch sizes."""

    path: Path
    opset: int
    inputs: dict[str, tuple[str | int, ...]]
    outputs: list[str]
    batch_sizes: list[int]
    preprocessing: Preprocessing | None = None
    max_error: dict[str, float] = field(default_factory=dict)
    relative_error: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        rows = [
            f"{name}: largest error {self.max_error[name]:.2e} ({self.relative_error[name]:.1e} of the RMS)"
            for name in self.outputs
        ]
        sizes = ", ".join(map(str, self.batch_sizes))
        images = (
            f"preprocessing: {self.preprocessing.source}"
            if self.preprocessing
            else "no preprocessing recorded (a net read as bvlc does not say whose images it takes)"
        )
        return f"{self.path}: opset {self.opset}; onnxruntime at batch sizes {sizes}: {'; '.join(rows)}; {images}"


class _Positional(nn.Module):
    """A CaffeNet with positional inputs and a tuple of outputs, which is what an exporter can trace."""

    def __init__(self, net: CaffeNet, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.net, self.names, self.outputs = net, list(inputs), list(outputs)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        self.net(**dict(zip(self.names, inputs)))
        return tuple(self.net.blobs[name] for name in self.outputs)


def export_onnx(
    net: CaffeNet,
    path: str | Path,
    *,
    outputs: Sequence[str] | None = None,
    size: int | None = None,
    opset: int = MIN_OPSET,
    preprocessing: Preprocessing | None = None,
    batch_sizes: Sequence[int] = (1, 3),
    seed: int = 0,
) -> ExportReport:
    """Write `net` (TEST phase, float32) as ONNX with a dynamic batch axis.

    The file appears only after onnx.checker accepted it and onnxruntime agreed with the net on random inputs of each of
    `batch_sizes` to 1e-4 of the output's RMS. All inputs share the batch axis "batch".

    Args:
        outputs: blob names; default the net's outputs.
        size: height and width of 4-axis inputs, where they shall differ from the prototxt's.
        preprocessing: kept as JSON in the file's metadata under "preprocessing", with the size that the file takes;
            default that of the net's fork. A net read as bvlc says nothing of its images: then none is kept.

    Raises:
        ValueError: a TRAIN-phase or float64 net, one with a loss, one that ONNX cannot hold, an opset below 19, a name that is no blob, a net whose own outputs
            are not finite (BatchNorm without weights divides by nearly 0).
        CaffeFormatError: onnxruntime computes something else; nothing is written.
        ImportError: without the extra `onnx`.
    """
    onnx, onnxruntime = _import()
    if net.phase != "TEST":
        raise ValueError(f"only TEST nets are exported; this one was built for phase {net.phase}")
    if opset < MIN_OPSET:
        raise ValueError(f"opset must be at least {MIN_OPSET}, got {opset}")
    loss = next((layer for layer in net.plan.layers if layer.is_loss), None)
    if loss is not None:
        raise ValueError(f"{loss} is a loss: export the deploy net, without losses")
    outputs = list(outputs or net.plan.outputs)
    unknown = [name for name in outputs if name not in net.plan.shapes]
    if unknown:
        raise ValueError(f"the net has no blob {unknown[0]!r}; its outputs are {', '.join(net.plan.outputs)}")
    shapes = {name: _resized(net.inputs[name], size) for name in net.plan.needed_inputs}
    rng = np.random.default_rng(seed)
    example = tuple(torch.from_numpy(x) for x in _random(shapes, 2, rng).values())
    if any(b.tensor.dtype != torch.float32 for b in net.learnable):
        raise ValueError("only float32 nets are exported; call net.float() first")

    module = _Positional(net, list(shapes), outputs).eval()
    # A bound, as torch 2.7 cannot prove that the largest int64 is not meant.
    batch = torch.export.Dim("batch", min=1, max=2**31 - 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch about its own internals
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                opset_version=opset,
                input_names=list(shapes),
                output_names=outputs,
                dynamic_shapes={"inputs": tuple({0: batch} for _ in shapes)},
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ValueError(f"torch cannot express this net in ONNX: {error.__cause__ or error}") from error
    assert program is not None
    model = program.model_proto
    preprocessing = preprocessing or PREPROCESSING.get(net.dialect)
    sides = {s[2] for s in shapes.values() if len(s) == 4 and s[2] > 1}
    if preprocessing is not None and len(sides) == 1:
        side = sides.pop()
        # Where images are not cropped after the resize (OSM), the resize leads to the net's size.
        resized = side if preprocessing.resize_size == preprocessing.size else preprocessing.resize_size
        preprocessing = dataclasses.replace(preprocessing, size=side, resize_size=resized)
    facts = {"dialect": net.dialect, "net": net.message.name}
    if preprocessing is not None:
        facts[METADATA_KEY] = preprocessing.to_json()
    onnx.helper.set_model_props(model, facts)
    onnx.checker.check_model(model, full_check=True)

    report = ExportReport(
        Path(path),
        _opset(model),
        {n: ("batch", *s[1:]) for n, s in shapes.items()},
        outputs,
        list(batch_sizes),
        preprocessing,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for count in batch_sizes:
        inputs = _random(shapes, count, rng)
        _compare(report, net, session, inputs)
    with atomic_path(path) as temporary:
        onnx.save_model(model, temporary)
    return report


def export(
    prototxt: str | Path,
    weights: str | Path | Mapping[str, Sequence[NDArray[Any]]] | None,
    path: str | Path,
    *,
    dialect: str | None = None,
    **options: Any,
) -> ExportReport:
    """`export_onnx` of a deploy prototxt with its weights; options as there."""
    return export_onnx(load_net(prototxt, weights, phase="TEST", dialect=dialect), path, **options)


def _import() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  (torch.onnx needs it)
    except ImportError as error:
        raise ImportError(f"ONNX export needs {error.name}: pip install 'dml-ports[onnx]'") from None
    return onnx, onnxruntime


def _resized(shape: tuple[int, ...], size: int | None) -> tuple[int, ...]:
    return (*shape[:2], size, size) if size is not None and len(shape) == 4 and shape[2] > 1 else tuple(shape)


def _random(shapes: Mapping[str, tuple[int, ...]], count: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Inputs of the size that mean-subtracted pixels have."""
    return {name: (rng.standard_normal((count, *s[1:])) * 40).astype(np.float32) for name, s in shapes.items()}


def _opset(model: Any) -> int:
    return next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def _compare(report: ExportReport, net: CaffeNet, session: Any, inputs: Mapping[str, NDArray[Any]]) -> None:
    got = session.run(report.outputs, dict(inputs))
    with torch.no_grad():
        net(**inputs)
    for name, array in zip(report.outputs, got):
        want = net.blobs[name].cpu().numpy()
        if array.shape != want.shape:
            raise CaffeFormatError(f"output {name!r}: onnxruntime gives shape {array.shape}, the net {want.shape}")
        if not np.isfinite(want).all():
            raise ValueError(f"blob {name!r} of the net itself is not finite on random inputs; were weights loaded?")
        error = float(np.abs(array - want).max())
        relative = error / max(float(np.sqrt(np.mean(np.square(want)))), 1e-30)
        report.max_error[name] = max(error, report.max_error.get(name, 0.0))
        report.relative_error[name] = max(relative, report.relative_error.get(name, 0.0))
        if not relative <= TOLERANCE:
            raise CaffeFormatError(
                f"output {name!r} at batch size {len(array)}: onnxruntime differs by {error:.2e}, "
                f"{relative:.1e} of the RMS; the bound is {TOLERANCE:.0e}"
            )
