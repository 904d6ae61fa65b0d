"""Which operations torch documents as non-deterministic on CUDA, read from the docstring of the installed torch.

`python -m tools.cuda.documented` writes documented.json: the names as torch's own text has them, with the version. What each name
means among the operations that are recorded (`MEANS`) is our reading of it.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import torch

FILE = Path(__file__).with_name("documented.json")
_NAME = re.compile(r"^\s*\* :\w+:`(?:torch\.)?([\w.]+)`(.*)$")
_SWITCHES, _RAISES = "will act", "will throw a"  # the sentences above the two lists

#: Documented name -> the operations that it is made of, with the detail (see `recorder.detail`) that the text names; None: any.
#: "backward" operations are meant where the text speaks of differentiating.
MEANS: dict[str, list[tuple[str, str | None]]] = {
    "nn.AvgPool3d": [("aten::avg_pool3d_backward", None)],
    "nn.AdaptiveAvgPool2d": [("aten::_adaptive_avg_pool2d_backward", None)],
    "nn.AdaptiveAvgPool3d": [("aten::_adaptive_avg_pool3d_backward", None)],
    "nn.AdaptiveMaxPool2d": [("aten::adaptive_max_pool2d_backward", None)],
    "nn.FractionalMaxPool2d": [("aten::fractional_max_pool2d_backward", None)],
    "nn.FractionalMaxPool3d": [("aten::fractional_max_pool3d_backward", None)],
    "nn.MaxPool3d": [("aten::max_pool3d_with_indices_backward", None)],
    "nn.MaxUnpool1d": [("aten::max_unpool2d", None)],
    "nn.MaxUnpool2d": [("aten::max_unpool2d", None)],
    "nn.MaxUnpool3d": [("aten::max_unpool3d", None)],
    "nn.functional.interpolate": [
        (f"aten::upsample_{mode}_backward", None) for mode in ("linear1d", "bilinear2d", "bicubic2d", "trilinear3d")
    ],
    "nn.ReflectionPad1d": [("aten::reflection_pad1d_backward", None)],
    "nn.ReflectionPad2d": [("aten::reflection_pad2d_backward", None)],
    "nn.ReflectionPad3d": [("aten::reflection_pad3d_backward", None)],
    "nn.ReplicationPad1d": [("aten::replication_pad1d_backward", None)],
    "nn.ReplicationPad2d": [("aten::replication_pad2d_backward", None)],
    "nn.ReplicationPad3d": [("aten::replication_pad3d_backward", None)],
    # The text names the module. The message of torch's own check (test_torch.py, test_nondeterministic_alert_NLLLoss) names
    # the form for maps, nll_loss2d_forward; the one with a label for each row, which our losses use, adds in one block.
    "nn.NLLLoss": [("aten::nll_loss2d_forward", None)],
    "nn.CTCLoss": [("aten::_ctc_loss_backward", None), ("aten::_cudnn_ctc_loss", None)],
    "nn.EmbeddingBag": [("aten::_embedding_bag_dense_backward", None), ("aten::_embedding_bag_backward", None)],
    "Tensor.put_": [("aten::put_", None), ("aten::put", None)],
    "histc": [("aten::histc", None)],
    "bincount": [("aten::bincount", "weights")],
    "kthvalue": [("aten::kthvalue", None)],
    "median": [("aten::median", "dim"), ("aten::nanmedian", "dim")],
    "nn.functional.grid_sample": [("aten::grid_sampler_2d_backward", None), ("aten::grid_sampler_3d_backward", None)],
    "cumsum": [("aten::cumsum", "floating"), ("aten::cumsum_", "floating")],
    "Tensor.scatter_reduce": [("aten::scatter_reduce", "reduce=prod"), ("aten::scatter_reduce_", "reduce=prod")],
    "Tensor.resize_": [("aten::resize_", "quantized")],
}
#: Products that cuBLAS computes: it needs CUBLAS_WORKSPACE_CONFIG to give the same bits again on another stream.
CUBLAS = {
    "aten::mm",
    "aten::addmm",
    "aten::addmm_",
    "aten::bmm",
    "aten::baddbmm",
    "aten::mv",
    "aten::addmv",
    "aten::dot",
}
#: cuDNN chooses among algorithms; with cudnn.deterministic it takes deterministic ones.
CUDNN = {"aten::convolution", "aten::convolution_backward"}
#: Documented as switching to a deterministic way: what they are among the recorded operations.
SWITCHES = {
    "aten::index_put": "Tensor.index_put", "aten::index_put_": "Tensor.index_put", "aten::_index_put_impl_": "Tensor.index_put",
    "aten::scatter_add": "Tensor.scatter_add_", "aten::scatter_add_": "Tensor.scatter_add_", "aten::index_add": "index_add",
    "aten::index_add_": "index_add", "aten::index_copy": "Tensor.index_copy", "aten::index_copy_": "Tensor.index_copy",
    "aten::scatter": "Tensor.scatter", "aten::scatter_": "Tensor.scatter", "aten::gather": "gather",
    "aten::index_select": "index_select",
}  # fmt: skip


def of_installed() -> dict[str, Any]:
    """{"torch", "source", "switches": names, "raises": names} from the docstring, each list in its order there, once.

    What is said of MPS tensors alone is left out: they are not on a CUDA device.
    """
    text = (torch.use_deterministic_algorithms.__doc__ or "").splitlines()
    lists: dict[str, list[str]] = {"switches": [], "raises": []}
    current = None
    for number, line in enumerate(text):
        if "normally-nondeterministic operations" in line:
            current = "raises" if _RAISES in line else "switches"
        elif line.strip().startswith(("In addition", "Note that")):
            current = None
        elif current and (found := _NAME.match(line)) and found[1] not in lists[current]:
            more = itertools.takewhile(lambda after: after.strip() and not _NAME.match(after), text[number + 1 :])
            if "MPS tensor" not in " ".join(" ".join([line, *more]).split()):
                lists[current].append(found[1])
    if not all(lists.values()):
        raise ValueError(
            f"torch {torch.__version__}: its docstring has no such lists any more; _NAME and the sentences must follow"
        )
    source = "docstring of torch.use_deterministic_algorithms"
    return {"torch": torch.__version__.split("+")[0], "source": source, **lists}


def raising() -> dict[tuple[str, str | None], str]:
    """(operation, detail; None: any) -> the documented name, of everything that is documented as raising."""
    listed = json.loads(FILE.read_text(encoding="utf-8"))["raises"]
    return {operation: name for name in listed for operation in MEANS[name]}


def judged(operation: str, detail: str, table: dict[tuple[str, str | None], str]) -> str | None:
    """The documented name under which a recorded operation raises; None: it does not."""
    return table.get((operation, detail)) or table.get((operation, None))


if __name__ == "__main__":
    FILE.write_text(json.dumps(of_installed(), indent=1) + "\n", encoding="utf-8")
    print(f"{FILE}: {', '.join(f'{len(v)} {k}' for k, v in of_installed().items() if isinstance(v, list))}")
