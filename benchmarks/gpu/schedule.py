"""The parts in order of their worth, with the seconds they are expected to take on one H100 and may take at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    what: str
    expected: int
    limit: int


#: Those of the first six and of loader: as one H200 took, and a little more; the others are guesses. What does not fit is left out.
PARTS: dict[str, Part] = {
    "letters": Part("the letters are drawn and their sha256 taken, once for all parts", 30, 120),
    "tests": Part("all tests marked gpu", 70, 210),
    "bits": Part(
        "rll-sop, osm-cub, ms-cub, cls-cub: a run, the same again, one killed and resumed: equal bits", 210, 330
    ),
    "cpu_against_cuda": Part("one step in float64 on both: losses, gradients, weights", 35, 120),
    "speed": Part("step time and images/s, deterministic and not, beside a plain port; peak memory", 120, 200),
    "recall": Part("recall@K of 60,502 and 1,000,000 x 512 against the bare product", 40, 100),
    "loader": Part("images/s that the loaders give, beside those that a step takes", 40, 90),
    "two_processes": Part("two processes on one card: NCCL, gloo", 40, 90),
    "fast": Part("--fast: TF32, channels-last, compiled", 60, 150),
    "long_run": Part("rll-sop at its own batch for up to 2,000 steps", 90, 900),
}
TOY_SECONDS = 1200  # a part's limit at toy size: two shared cores may be slow
MARGIN = 5  # seconds to end a part and write down what it found


def fits(name: str, left: float, *, toy: bool) -> bool:
    """Whether the part can be expected to end in `left` seconds. At toy size there is no expectation: it is tried."""
    return left > (MARGIN if toy else PARTS[name].expected)
