"""Losses of the Deep_Metric repository on one common recipe.

Source    bnu-wangxun/Deep_Metric at 04ca51093db13135a04e3c94401bc898c6af0c40, run_train_00.sh (HEAD) and older copies
Command   tox -e reproduce-dm-contrastive-cub                          embedded form: minutes on two cores, no download
          tox -e reproduce-dm-contrastive-cub -- --data CUB_200_2011 --weights bn_inception-52deb4733.pth
Cost      600 epochs: 3,600 updates of 80 images on CUB and on CARS196, 0.2 hours on one V100 (estimated,
          not measured).
Result    R@1 in the repository's README tables: contrastive 64.5 (CUB) and 77.0 (CARS196), binomial 64.5 and 80.8,
          semi-hard (with its RAW weights) 65.0 and 80.5, NCA 66.3 on CUB. None states its command or epoch.

The script itself names the loss "Weight", which HEAD cannot build. So every recipe here is HEAD's network, optimiser,
images and sampler with one loss of the collection; which arguments are whose stands in `provenance`. The losses that HEAD
lacks or breaks (batch-all, semi-hard, NCA) are those of its older copies or of the papers, and say so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from paper_recipes.recipe import Embedded, Evaluation, Expected, Phase, Recipe, Sampler, Source, Torch
from paper_recipes.records import Clustering, Records

SOURCE = Source(
    paper="Deep_Metric repository (no paper of its own)",
    repository="bnu-wangxun/Deep_Metric",
    commit="04ca51093db13135a04e3c94401bc898c6af0c40",
    folder="run_train_00.sh",
)
_README = "README table of the repository's 2018 state; command and epoch not given"
_WIDE = 3.0  # points: neither command nor epoch is recorded, and users' runs differ by as much

_RECORDS = Records(
    forward=("final_deep_metric_224", "classifier.linear."),
    clustering=Clustering(10, 300, "geometric", "evaluations/NMI.py: scikit-learn's defaults of its time"),
)


def _recorded(loss_set: str) -> Records:
    return replace(_RECORDS, loss_set=loss_set)


def _unrecorded(why: str) -> Records:
    return replace(_RECORDS, loss_missing=why)


# name -> loss, where its arguments are from, known values of R@1, known deviations, what checks it
LOSSES: dict[str, tuple[dict[str, Any], str, dict[str, float], tuple[str, ...], Records]] = {
    "contrastive": (
        {"class": "ContrastiveLoss", "margin": 0.5},
        "stated: losses/Contrastive.py with the script's margin",
        {"cub": 64.52, "cars196": 76.95},
        (),
        _recorded("contrastive-deep-metric"),
    ),
    "batch-all": (
        {"class": "BatchAllLoss", "margin": 0.2},
        "inferred: losses/BatchAll.py of older copies, its default margin; HEAD has no such loss",
        {},
        (),
        _recorded("batch-all"),
    ),
    "batch-hard": (
        {"class": "BatchHardLoss", "margin": 0.2, "variant": "paper"},
        "ours: the formula of Hermans et al. with batch-all's margin; no file of the collection has it",
        {},
        ("the loss is the paper's: no released file exists",),
        _unrecorded("no released file to record: tests/ports holds it to the paper's formula"),
    ),
    "semi-hard": (
        {"class": "SemiHardLoss", "alpha": 40.0, "beta": 2.0},
        "inferred: losses/SemiHard.py of older copies (HEAD's file does not parse); alpha from the script, beta ours",
        {"cub": 64.97, "cars196": 80.48},
        ("the README's row is 'RAW+SemiHard', whose exact combination is not recorded",),
        _recorded("semi-hard"),
    ),
    "lifted": (
        {"class": "LiftedStructureLoss", "alpha": 40.0, "beta": 2.0},
        "stated: losses/LiftedStructure.py; the script's alpha, the file's beta",
        {},
        (),
        _recorded("lifted"),
    ),
    "binomial": (
        {"class": "BinomialDevianceLoss", "alpha": 40.0, "margin": 0.5},
        "stated: losses/Binomial.py; the script's alpha and margin",
        {"cub": 64.45, "cars196": 80.78},
        ("the README's row is older than HEAD: its file had other weights and a hard-negative rule",),
        _recorded("binomial"),
    ),
    "nca": (
        {"class": "NCALoss", "alpha": 16.0, "variant": "paper"},
        "inferred: HEAD's file cannot run (undefined name, inverted sign); this is the formula of its 2018 text over "
        "all neighbours, with that file's default alpha",
        {"cub": 66.3},
        ("the 2018 text looks at 32 neighbours only; HEAD's rewards dissimilar positives and is not run",),
        _unrecorded("the released file cannot run: tests/ports holds it to the paper's formula"),
    ),
}
TITLES = {"cub": "CUB-200-2011", "cars196": "CARS196"}


def _recipe(loss: str, dataset: str) -> Recipe:
    description, origin, known, deviations, records = LOSSES[loss]
    return Recipe(
        name=f"dm-{loss}-{dataset}",
        title=f"Deep_Metric's {loss} loss, {TITLES[dataset]}",
        source=SOURCE,
        dataset=dataset,
        torch=Torch(
            backbone={"class": "BNInception", "pool": "max", "bn_momentum": 0.9},
            head={"class": "LinearHead", "in_dim": 1024, "out_dim": 512, "zero_is_nan": True},
            loss=description,
            # One rate for the whole net: the multipliers of the release's groups are keys that Adam does not know.
            optimizer={"class": "Adam", "weight_decay": 5e-4},
            phases=(Phase(iterations=3600, lr=1e-5),),
            frozen_bn=True,  # set_bn_eval once, and the trainer never calls train()
        ),
        # 100 (98) classes x 5 images make 6 batches an epoch, the last incomplete one dropped.
        sampler=Sampler("FastRandomIdentity", classes_per_batch=16, images_per_class=5),
        images={"pipeline": "DeepMetric", "crop": 227},
        evaluation=Evaluation(
            protocol="self",
            ks=(1, 2, 4, 8, 16, 32),
            batch_size=64,
            iterations=tuple(6 * epoch for epoch in range(50, 601, 50)),
            ties="optimistic",
            rule="deep_metric_recall",
        ),
        iterations=3600,
        snapshot_every=300,
        weights="bn_inception-52deb4733.pth (ImageNet, B,G,R)",
        weights_sha256="52deb4733",
        expected=(Expected("embedding", "R@1", known[dataset], _WIDE, _README),) if dataset in known else (),
        embedded=Embedded(
            classes_per_batch=8,
            images_per_class=4,
            iterations=60,
            train_classes=600,
            test_classes=60,
            evaluate_every=20,
        ),
        seed=1,
        deviations=deviations,
        provenance={
            "network, optimiser, images, sampler, epochs": "stated: run_train_00.sh and the files it calls",
            "loss": origin,
            "seed": "ours: the script sets none",
        },
        records=records,
    )


RECIPES = tuple(_recipe(loss, dataset) for loss in LOSSES for dataset in TITLES)
