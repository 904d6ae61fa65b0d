"""The two scales of a recipe: frozen in full, or on letters (same formulas and code path, small, no download)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from paper_recipes.recipe import Caffe, Recipe, Sampler, Torch
from ports.datasets.split import Split


@dataclass(frozen=True)
class Plan:
    """What the training loop needs to know besides the recipe's networks and images."""

    form: str  # "embedded" (on letters) | "full" | "own"
    sampler: Sampler
    iterations: int
    snapshots: frozenset[int]
    evaluations: frozenset[int]
    train_classes: int | None = None  # None: all there are
    test_classes: int | None = None
    test_pictures: int | None = None  # of each test class
    fast: bool = False  # TF32, other memory layouts, compiled code: not comparable with anything
    double: bool = False  # float64 throughout, of the same images and starting weights
    # A Caffe recipe's drops of the rate at the same shares of the run as of the paper's, and that times the paper's rate. False and
    # 1: the solver as it is frozen, which short runs never see a drop of (those of the authors' programs that were recorded).
    scaled: bool = False
    rate: float = 1.0

    @property
    def label(self) -> str:
        """The form as records and checkpoints name it; nothing takes "full, fast" for a full run."""
        return ", ".join([self.form, *(["fast"] if self.fast else []), *(["double"] if self.double else [])])


def in_words(form: str) -> str:
    """A form as people are shown it: records and checkpoints call the letters form "embedded"."""
    return form.replace("embedded", "letters", 1)


def as_json(plan: Plan) -> dict[str, Any]:
    """JSON types, for the record of a run."""
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in asdict(plan).items()}


def of_json(data: dict[str, Any]) -> Plan:
    """The plan that `as_json` was given. Raises TypeError for other fields than a plan has."""
    sets = {field.name for field in fields(Plan) if str(field.type).startswith("frozenset")}
    known: dict[str, Any] = {name: frozenset(value) if name in sets else value for name, value in data.items()}
    return Plan(**known | {"sampler": Sampler(**data["sampler"])})


SMOKE: dict[str, Any] = {
    "classes_per_batch": 3,
    "images_per_class": 2,
    "iterations": 2,
    "train_classes": 6,
    "test_classes": 3,
    "evaluate_every": 1,
    "test_pictures": None,
}
# Test letters that nets from seeded values are scored on, with all their pictures: the authors' programs were.
SEEDED_TEST_CLASSES = 60


def full(recipe: Recipe) -> Plan:
    every = range(recipe.snapshot_every, recipe.iterations + 1, recipe.snapshot_every)
    return Plan(
        form="full",
        sampler=recipe.sampler,
        iterations=recipe.iterations,
        snapshots=frozenset([*every, recipe.iterations]),
        evaluations=frozenset([*recipe.evaluation.iterations, recipe.iterations]),
    )


def embedded(
    recipe: Recipe,
    iterations: int | None = None,
    *,
    full_batch: bool = False,
    smoke: bool = False,
    seeded: bool = False,
) -> Plan:
    """`iterations` shortens (or lengthens) the run; `full_batch` keeps the recipe's own batch and all letters, for a GPU;
    `smoke` is the smallest scale that still takes every step of the code path; `seeded` starts from no weights, with the solver as
    the authors' program was given it for the recorded runs.
    """
    small = replace(recipe.embedded, **SMOKE) if smoke else recipe.embedded
    if (persons := _persons(recipe)) is not None:
        small = replace(small, classes_per_batch=persons, train_classes=max(small.train_classes, persons))
    if seeded and not smoke:
        small = replace(small, test_classes=SEEDED_TEST_CLASSES, test_pictures=None)
    own = small.seeded_iterations if seeded and small.seeded_iterations is not None and not smoke else small.iterations
    last = own if iterations is None else iterations
    each = small.evaluate_every if own == small.iterations else own // 4
    every = {*range(each, last + 1, each), last}
    sampler = replace(
        recipe.sampler, classes_per_batch=small.classes_per_batch, images_per_class=small.images_per_class
    )
    return Plan(
        form="embedded",
        sampler=recipe.sampler if full_batch else sampler,
        iterations=last,
        snapshots=frozenset(every),
        evaluations=frozenset({0, *every}),
        train_classes=None if full_batch and _classifier_classes(recipe) is None else small.train_classes,
        test_classes=None if full_batch else small.test_classes,
        test_pictures=None if full_batch else small.test_pictures,
        scaled=not seeded,
        rate=1.0 if seeded else small.rate,
    )


def _classifier_classes(recipe: Recipe) -> int | None:
    """How many training classes the recipe's net can tell apart; None: any number."""
    return None if recipe.caffe is None else recipe.caffe.classes


def _persons(recipe: Recipe) -> int | None:
    """Persons in each batch of a net that has a slice for each tracklet; None: any number."""
    return recipe.sampler.classes_per_batch if recipe.sampler.rule == "TrackletSampler" else None


def own(recipe: Recipe, train: Split, iterations: int | None) -> Plan:
    """The frozen recipe on a user's pictures: batches of no more classes than there are, any length.

    Raises ValueError where the net has classifiers with fewer outputs than there are training classes, or slices for the
    tracklets of more persons than there are.
    """
    most = _classifier_classes(recipe)
    if most is not None and train.num_classes > most:
        raise ValueError(f"{recipe.name} has classifiers of {most} classes, {train.name} has {train.num_classes}")
    if (persons := _persons(recipe)) is not None and train.num_classes < persons:
        raise ValueError(
            f"a batch of {recipe.name} has {persons} persons, {train.name} has {train.num_classes}; "
            f"`--set sampler.classes_per_batch={train.num_classes}` makes its net for as many"
        )
    last = recipe.iterations if iterations is None else iterations
    every = max(1, min(recipe.snapshot_every, last // 4))
    stops = frozenset([*range(every, last + 1, every), last])
    classes = min(recipe.sampler.classes_per_batch, train.num_classes)
    return Plan(
        form="own",
        sampler=replace(recipe.sampler, classes_per_batch=classes),
        iterations=last,
        snapshots=stops,
        evaluations=stops | {0},
    )


def caffe_at(recipe: Recipe, plan: Plan) -> Caffe:
    """The Caffe description at the plan's scale: drops of the rate at the same shares of the run."""
    caffe = recipe.the_caffe()
    if not plan.scaled:
        return caffe
    share = plan.iterations / recipe.iterations
    solver = {**caffe.solver, "base_lr": caffe.solver["base_lr"] * plan.rate}
    if "stepvalue" in solver:
        solver["stepvalue"] = [round(step * share) for step in solver["stepvalue"]]
    return replace(caffe, solver=solver)


def torch_at(recipe: Recipe, plan: Plan, images: int) -> Torch:
    """The PyTorch description at the plan's scale: phases and rate drops at the same shares of the run, a memory no larger
    than the training set of `images`.
    """
    assert recipe.torch is not None
    share = plan.iterations / recipe.iterations
    phases = tuple(
        replace(
            phase,
            lr=phase.lr * plan.rate,
            iterations=max(1, round(phase.iterations * share)),
            drops=tuple(round(drop * share) for drop in phase.drops),
        )
        for phase in recipe.torch.phases
    )
    memory = recipe.torch.memory
    if memory is not None and plan.form != "full":
        memory = {
            **memory,
            "memory_size": min(memory["memory_size"], images),
            "start_iteration": round(memory["start_iteration"] * share),
        }
    return replace(recipe.torch, phases=phases, memory=memory)
