"""Compare a net blob by blob with a forward pass recorded from another Caffe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from caffe_compat.errors import CaffeFormatError
from caffe_compat.files import read_npz
from caffe_compat.net import CaffeNet, load_net
from caffe_compat.net.seeded import seed_weights, seeded_images
from ports.console import Table

#: largest error allowed, relative to the blob's RMS.
TOLERANCE = {"float64": 1e-9, "float32": 1e-4}


@dataclass(frozen=True)
class Row:
    """One blob: its producer, RMS of the recorded values, largest error relative to it, verdict."""

    layer: str
    type: str
    blob: str
    shape: tuple[int, ...]
    rms: float
    error: float
    ok: bool
    note: str = ""


@dataclass(frozen=True)
class DiffReport:
    net: str
    reference: str
    dtype: str
    tolerance: float
    rows: list[Row]
    stopped: bool = False

    @property
    def ok(self) -> bool:
        return bool(self.rows) and all(row.ok for row in self.rows)

    @property
    def first_wrong(self) -> Row | None:
        return next((row for row in self.rows if not row.ok), None)

    def __str__(self) -> str:
        wrong = self.first_wrong
        if wrong is not None:
            place = f'layer "{wrong.layer}", ' if wrong.layer else ""
            return f'first WRONG: {place}blob "{wrong.blob}" {wrong.note or f"error {wrong.error:.2g} of its RMS"}'
        worst = max(self.rows, key=lambda row: row.error, default=None)
        if worst is None:
            return "nothing compared"
        return (
            f'{len(self.rows)} blobs agree to {self.tolerance:g} of their RMS; worst {worst.error:.2g} ("{worst.blob}")'
        )

    def table(self) -> Table:
        """The rows, a line each."""
        header = ("layer", "type", "blob", "shape", "RMS", "max error / RMS", "verdict")
        title = f"{self.net} against {self.reference}, {self.dtype}"
        table = Table(header, names=range(7), right=(4, 5), title=title, paint={"ok": "green", "WRONG": "red"})
        for row in self.rows:
            verdict = "ok" if row.ok else f"WRONG {row.note}".rstrip()
            shape = "x".join(map(str, row.shape))
            table.rows.append([row.layer, row.type, row.blob, shape, f"{row.rms:.4g}", f"{row.error:.2g}", verdict])
        return table


def diff_net(
    prototxt: str | Path | Any,
    reference: str | Path,
    *,
    weights: str | Path | Mapping[str, Sequence[NDArray[Any]]] | None = None,
    dialect: str | None = None,
    phase: str = "TEST",
    dtype: str | None = None,
    device: str = "cpu",
    stop: bool = False,
) -> DiffReport:
    """Run a net and compare every recorded blob.

    Args:
        prototxt: as for `load_net`.
        reference: a folder with `manifest.json` and `blobs.npz` (float32) or `manifest_f64.json` and `blobs_f64.npz`, each
            blob as shape, L2 norm and sampled values; or an .npz of whole blobs by name, input blobs included, as
            `numpy.savez(file, **{k: b.data for k, b in net.blobs.items()})` writes it in pycaffe.
        weights: .caffemodel of the recorded net; None: the folder's seeded recipe.
        dtype: "float64" or "float32"; None: the finer one that was recorded.
        device: where to compute; TF32 must be off on CUDA.
        stop: end the report with the first wrong blob.

    Raises:
        CaffeFormatError: no such record, or one that does not fit the net.
        ValueError: a device that is not there.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"cannot compute on device {device!r}: {str(error).splitlines()[0]}") from None
    path = Path(reference)
    record = _Samples(path, dtype) if path.is_dir() else _Whole(path, dtype)
    net = load_net(prototxt, weights, dialect=dialect, phase=phase)
    if weights is None:
        if not record.seeded:
            raise CaffeFormatError("whole blobs say nothing of the weights: give a .caffemodel", file=path)
        seed_weights(net)
    net = net.to(device=device, dtype=getattr(torch, record.dtype))
    with torch.no_grad():
        net(**record.inputs(net))
    tolerance = TOLERANCE[record.dtype]
    rows: list[Row] = []
    for row in _rows(net, record, tolerance):
        rows.append(row)
        if stop and not row.ok:
            return DiffReport(_title(net, prototxt), str(reference), record.dtype, tolerance, rows, stopped=True)
    return DiffReport(_title(net, prototxt), str(reference), record.dtype, tolerance, rows)


def _title(net: CaffeNet, prototxt: Any) -> str:
    is_path = isinstance(prototxt, Path) or (isinstance(prototxt, str) and "\n" not in prototxt)
    return str(prototxt) if is_path else net.message.name or "net"


def _rows(net: CaffeNet, record: _Samples | _Whole, tolerance: float) -> Iterator[Row]:
    """Blobs in the order in which the net makes them."""
    writer = dict.fromkeys(net.inputs, ("", "Input"))
    for layer in net.plan.layers:
        for top in layer.message.top:
            writer[top] = (layer.layer_name, layer.layer_type)
    for name in writer:
        if name not in record.names or name not in net.blobs:
            continue
        layer, layer_type = writer[name]
        blob = net.blobs[name].detach().double().cpu().numpy()
        shape = record.shape(name)
        if blob.shape != shape:
            note = f"(shape {'x'.join(map(str, blob.shape))})"
            yield Row(layer, layer_type, name, shape, float("nan"), float("inf"), False, note)
            continue
        rms, error = record.compare(name, blob)
        yield Row(layer, layer_type, name, shape, rms, error, bool(error <= tolerance))
    for name in record.names:
        if name not in writer:
            yield Row("", "", name, record.shape(name), float("nan"), float("inf"), False, "(not in this net)")


class _Samples:
    """A folder: per blob its shape, L2 norm and values at seeded positions."""

    seeded = True

    def __init__(self, folder: Path, dtype: str | None) -> None:
        suffixes = {"float64": "_f64", "float32": ""}
        found = [d for d, s in suffixes.items() if (folder / f"manifest{s}.json").is_file()]
        if not found or (dtype is not None and dtype not in found):
            wanted = f"manifest{suffixes[dtype]}.json" if dtype in suffixes else "manifest.json or manifest_f64.json"
            raise CaffeFormatError(f"no {wanted} in this folder", file=folder)
        self.folder, self.dtype = folder, dtype or found[0]
        suffix = suffixes[self.dtype]
        try:
            self.blobs = {b["name"]: b for b in json.loads((folder / f"manifest{suffix}.json").read_text())["blobs"]}
            npz = read_npz(folder / f"blobs{suffix}.npz")
            self.samples = {name: npz[blob["samples_key"]] for name, blob in self.blobs.items()}
        except (OSError, ValueError, KeyError) as error:
            raise CaffeFormatError(f"not a recorded forward: {error}", file=folder) from error
        self.names = list(self.blobs)

    def inputs(self, net: CaffeNet) -> dict[str, torch.Tensor]:
        """The seeded images, checked against the recorded hash where there is one."""
        images = {name: seeded_images(self.shape(name)) for name in net.inputs if name in self.blobs}
        manifest = self.folder / "manifest.json"
        if manifest.is_file():
            recorded = json.loads(manifest.read_text()).get("input", {})
            name = recorded.get("blob")
            if name in images and hashlib.sha256(images[name].numpy().tobytes()).hexdigest() != recorded.get("sha256"):
                raise CaffeFormatError(f'input "{name}": the recipe gives other values than recorded', file=manifest)
        return images

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.blobs[name]["shape"])

    def compare(self, name: str, blob: NDArray[Any]) -> tuple[float, float]:
        """(RMS, larger of the samples' largest error and the L2 norm's error, both relative)."""
        norm = self.blobs[name]["l2"]
        rms = norm / np.sqrt(blob.size)
        positions = np.random.RandomState(0).randint(0, blob.size, len(self.samples[name]))
        error = np.abs(blob.reshape(-1)[positions] - self.samples[name]).max()
        norm_error = abs(np.sqrt(np.square(blob).sum()) - norm)
        if norm == 0:
            return 0.0, float(max(error, norm_error))
        return float(rms), float(max(error / rms, norm_error / norm))


class _Whole:
    """An .npz of whole blobs."""

    seeded = False

    def __init__(self, path: Path, dtype: str | None) -> None:
        self.blobs = read_npz(path)
        self.file = path
        self.names = list(self.blobs)
        kinds = {array.dtype for array in self.blobs.values()}
        self.dtype = dtype or ("float64" if kinds == {np.dtype("float64")} else "float32")

    def inputs(self, net: CaffeNet) -> dict[str, torch.Tensor]:
        missing = [name for name in net.plan.needed_inputs if name not in self.blobs]
        if missing:
            raise CaffeFormatError(f"input blobs {missing} are not in the record", file=self.file)
        return {name: torch.from_numpy(self.blobs[name]) for name in net.inputs if name in self.blobs}

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.blobs[name].shape)

    def compare(self, name: str, blob: NDArray[Any]) -> tuple[float, float]:
        """(RMS, largest error relative to it)."""
        recorded = self.blobs[name].astype(np.float64)
        rms = float(np.sqrt(np.square(recorded).mean()))
        error = float(np.abs(recorded - blob).max())
        return rms, error / rms if rms else error
