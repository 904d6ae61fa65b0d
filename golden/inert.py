"""Settings of golden sets that no case of theirs notices, and why. A setting that is not listed must be noticed."""

from __future__ import annotations

from .cases import GoldenSet

_STORED = "the original stores it and never reads it"
_UNMINED = "no pairs are mined here"
_DRAWING = "belongs to the drawing of triplets, which the set brings"
_NOTHING_ACTIVE = dict.fromkeys(
    ("margin", "pn_margin", "T_p", "T_n", "legacy_version"),
    "no pair is active: positives end at d = 0.017, negatives begin at 1.3",
)

# set or family -> setting, or setting and direction -> reason
REASONS: dict[str, dict[str, str]] = {
    "rll-cvpr19-inactive": _NOTHING_ACTIVE,
    "rll-tpami-inactive": _NOTHING_ACTIVE,
    "rll-tpami-pn0": {
        "T_p": "no positive of the one recorded batch is beyond the boundary 1 (they end at d = 0.941)",
        "pn_margin +": "no negative of the one recorded batch lies between 1 and 1.01, and all weights grow alike",
    },
    "osm-m03": {"margin": "no negative is active: they begin at d = 1.13"},
    "binomial": {
        "beta": "only the mined branch reads it",
        "mining margin": _UNMINED,
    },
    "binomial-mined": {"margin": "the mined branch has 0.5 in its text"},
    "lifted": {"margin": _STORED, "mining margin": _UNMINED},
    "semi-hard": {"margin": _STORED},
    "nca": {
        "cutoff +": "the anchor itself becomes the most similar partner: the (k+1)-th smallest similarity stays",
    },
    "weight": {"mining margin": _UNMINED},
    "margin": {"CUTOFF": _DRAWING, "N_CLASSES": "the number of boundaries, which the set brings"},
    "margin-class-beta": {"beta": "where the boundaries start; the set brings them"},
}


def reason(golden_set: GoldenSet, setting: str, by: str) -> str:
    """Why a setting moved `by` ("+2 %", "-1", ...) is not noticed; "" where nothing says so."""
    for owner in (golden_set.name, golden_set.family):
        listed = REASONS.get(owner, {})
        for key in (f"{setting} {by[0]}", setting):
            if key in listed:
                return listed[key]
    return ""
