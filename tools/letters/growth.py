"""How fast two roundings of one run part: 30 steps of rll-sop with one thread and with two, in float32 and in float64, or AVX2's kernels."""

from __future__ import annotations

from pathlib import Path

from paper_recipes.recipe import Recipe
from tools.letters.runs import Run, ends_alone

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "pictures" / "letters_growth.png"
STEPS = 30


def pairs(recipe: Recipe) -> dict[str, list[Run]]:
    """Two roundings of the same run: one thread and two of each number format; in float64, whose products two threads round alike, other
    kernels, too.
    """

    def run(setting: str, *more: str, environment: dict[str, str] | None = None) -> Run:
        return Run(recipe.name, setting, ("--iterations", str(STEPS), *ends_alone(STEPS), *more), environment or {})

    single = [run(f"float32 {n} thread{'s'[: n - 1]}", "--threads", str(n)) for n in (1, 2)]
    double = [run(f"float64 {n} thread{'s'[: n - 1]}", "--double", "--threads", str(n)) for n in (1, 2)]
    other = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
    avx2 = run("float64 AVX2", "--double", "--threads", "1", environment=other)
    return {"float32, two threads": single, "float64, two threads": double, "float64, AVX2": [double[0], avx2]}


def differences(pair: list[Run], out: Path) -> list[float]:
    """Largest relative difference of the losses, of each step that both have."""
    rows = [run.rows(out, "steps") for run in pair]
    return [max(abs(b["losses"][k] / v - 1) if v else 0.0 for k, v in a["losses"].items()) for a, b in zip(*rows)]


def report(recipe: Recipe, out: Path) -> str:
    """A line for each format, and the picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    lines = []
    for kind, pair in pairs(recipe).items():
        found = differences(pair, out)
        hits = [run.rows(out, "evaluations")[-1]["hits"] for run in pair if run.record(out) is not None]
        equal = "equal" if len(hits) == 2 and hits[0] == hits[1] else "different"
        if found:
            lines.append(f"{kind}: {max(found):.1e} at most in {len(found)} steps; hit counts at the end {equal}")
            axes.plot(range(1, len(found) + 1), [max(value, 1e-17) for value in found], marker=".", label=kind)
    axes.axhline(1e-6, color="#777777", linestyle=":", linewidth=1)
    axes.set(xlabel="step", ylabel="largest relative difference of a loss", yscale="log")
    axes.set_title(f"{recipe.name} on the letters, from their start: against one thread")
    axes.legend(frameon=False, fontsize=8)
    fig.savefig(PICTURE, dpi=110)
    plt.close(fig)
    return "\n".join(lines)
