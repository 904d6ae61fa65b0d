"""Losses of the Deep_Metric repository on one common recipe.

Source    bnu-wangxun/Deep_Metric at 04ca51093db13135a04e3c94401bc898c6af0c40, run_train_00.sh (HEAD) and older copies
Command   tox -e reproduce-dm-contrastive-cub                          letters form: minutes on two cores, no download
          tox -e reproduce-dm-contrastive-cub -- --data CUB_200_2011 --weights bn_inception-52deb4733.pth
Cost      600 epochs: 3,600 updates of 80 images on CUB and on CARS196, 0.2 hours on one V100 (estimated,
          not measured).
Result    None is published: the rows of the repository's README belong to its state of 2018, which had another script, other
          starting weights and other losses (`deep_metric_2018`, recipes dm18-*).

The script itself names the loss "Weight", which HEAD cannot build: `dm-weight-*` are its settings with that loss from older
copies. Every other recipe here is HEAD's network, optimiser, images and sampler with another loss of the collection; which
arguments are whose stands in `provenance`. The losses that HEAD lacks or breaks (weight, batch-all, semi-hard, NCA) are
those of its older copies or of the papers, and say so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from paper_recipes.recipe import Band, Embedded, Evaluation, Phase, Recipe, Sampler, Source, Torch
from paper_recipes.records import Clustering, Records

SOURCE = Source(
    paper="Deep_Metric repository (no paper of its own)",
    repository="bnu-wangxun/Deep_Metric",
    commit="04ca51093db13135a04e3c94401bc898c6af0c40",
    folder="run_train_00.sh",
)
WIDE = 3.0  # points: neither command nor epoch of the README's rows is recorded, and users' runs differ by as much

RECORDS = Records(
    forward=("final_deep_metric_224", "classifier.linear."),
    clustering=Clustering(10, 300, "geometric", "evaluations/NMI.py: scikit-learn's defaults of its time"),
)
# The weighting loss was recorded with alpha 10 where no pair is mined.
WEIGHT_RECORDS = replace(RECORDS, loss_like=("weight", {"alpha": 10.0}))


def _recorded(loss_set: str) -> Records:
    return replace(RECORDS, loss_set=loss_set)


def _unrecorded(why: str) -> Records:
    return replace(RECORDS, loss_missing=why)


# name -> loss, where its arguments are from, known deviations, what checks it
LOSSES: dict[str, tuple[dict[str, Any], str, tuple[str, ...], Records]] = {
    "contrastive": (
        {"class": "ContrastiveLoss", "margin": 0.5},
        "stated: losses/Contrastive.py with the script's margin",
        (),
        _recorded("contrastive-deep-metric"),
    ),
    "batch-all": (
        {"class": "BatchAllLoss", "margin": 0.2},
        "inferred: losses/BatchAll.py of older copies, its default margin; HEAD has no such loss",
        (),
        _recorded("batch-all"),
    ),
    "batch-hard": (
        {"class": "BatchHardLoss", "margin": 0.2, "variant": "paper"},
        "ours: the formula of Hermans et al. with batch-all's margin; no file of the collection has it",
        ("the loss is the paper's: no released file exists",),
        _unrecorded("no released file to record: tests/ports holds it to the paper's formula"),
    ),
    "semi-hard": (
        {"class": "SemiHardLoss", "alpha": 40.0, "beta": 2.0},
        "inferred: losses/SemiHard.py of older copies (HEAD's file does not parse); alpha from the script, beta ours",
        (),
        _recorded("semi-hard"),
    ),
    "lifted": (
        {"class": "LiftedStructureLoss", "alpha": 40.0, "beta": 2.0},
        "stated: losses/LiftedStructure.py; the script's alpha, the file's beta",
        (),
        _recorded("lifted"),
    ),
    "binomial": (
        {"class": "BinomialDevianceLoss", "alpha": 40.0, "margin": 0.5},
        "stated: losses/Binomial.py; the script's alpha and margin",
        (),
        _recorded("binomial"),
    ),
    "nca": (
        {"class": "NCALoss", "alpha": 16.0, "variant": "paper"},
        "inferred: HEAD's file cannot run (undefined name, inverted sign); this is the formula of its 2018 text over "
        "all neighbours, with that file's default alpha",
        ("the 2018 text looks at 32 neighbours only; HEAD's rewards dissimilar positives and is not run",),
        _unrecorded("the released file cannot run: tests/ports holds it to the paper's formula"),
    ),
    "weight": (
        {"class": "WeightLoss", "alpha": 40.0, "beta": 2.0},
        "stated: the script's loss and alpha; losses/Weight.py of older copies (HEAD has none), its default beta, no mining",
        ("the script cannot run as released: HEAD does not know the loss that it names",),
        WEIGHT_RECORDS,
    ),
}
# CUB and Cars196 do the same on the letters.
BANDS = {
    "contrastive": Band(
        "R@1", 89.4, 1.0, "a Xeon with one thread and two, AVX2 kernels, and in float64; an EPYC with SSE4.1 kernels"
    )
}
TITLES = {"cub": "CUB-200-2011", "cars196": "CARS196"}


def deep_metric(name: str, dataset: str, loss: dict[str, Any]) -> Recipe:
    """HEAD's script with the given loss, of CUB's length; held to nothing."""
    return Recipe(
        name=name,
        title="Deep_Metric",
        source=SOURCE,
        dataset=dataset,
        torch=Torch(
            backbone={"class": "BNInception", "pool": "max", "bn_momentum": 0.9},
            head={"class": "LinearHead", "in_dim": 1024, "out_dim": 512, "zero_is_nan": True},
            loss=loss,
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
        expected=(),
        embedded=Embedded(
            classes_per_batch=8,
            images_per_class=4,
            iterations=40,
            train_classes=600,
            test_classes=100,
            evaluate_every=8,
            test_pictures=5,
        ),
        seed=1,
    )


def _recipe(loss: str, dataset: str) -> Recipe:
    description, origin, deviations, records = LOSSES[loss]
    plain = deep_metric(f"dm-{loss}-{dataset}", dataset, description)
    return replace(
        plain,
        embedded=replace(plain.embedded, band=BANDS.get(loss)),
        title=f"Deep_Metric's {loss} loss, {TITLES[dataset]}",
        deviations=deviations,
        records=records,
        provenance={
            "network, optimiser, images, sampler, epochs": "stated: run_train_00.sh and the files it calls",
            "loss": origin,
            "seed": "ours: the script sets none",
        },
    )


RECIPES = tuple(_recipe(loss, dataset) for loss in LOSSES for dataset in TITLES)
