"""Recipes derived from a frozen one: `rll-sop` with `margin=1.0` is `rll-sop+margin=1.0`, a recipe of that name.

The name says everything, so a run record, a checkpoint or a comparison finds the derived recipe again by its name alone.
It has a fingerprint of its own and is held to no published value, unless a row was published of these very settings: the
recipe's module then has it in its table DERIVED, and `registry` finds it.

A key is the path of a setting (`sampler.images_per_class`, `torch.phases.1.lr`, `caffe.solver.base_lr`). Parts may be left
out as long as one setting fits: `torch.loss.alpha` is `loss.alpha` or `alpha`. Parameters of a Caffe net's loss layers stand
under `caffe.loss` for all of them at once and under the layer's name for one: `loss.margin` and
`WSiamese/loss_image1.margin`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from paper_recipes import loss_defaults
from paper_recipes.dependent import SettingError as SettingError
from paper_recipes.dependent import epoch, settle
from paper_recipes.recipe import Recipe
from paper_recipes.records import Records

Path = tuple[Any, ...]  # field names, dict keys, list indices from the recipe down to one value

# What a recipe is, rather than a setting of it: another class or file has other settings.
_FIXED = {
    *("name", "title", "source", "weights", "weights_sha256", "expected", "deviations", "provenance", "records"),
    *("derived_from", "cudnn"),
    *("class", "pipeline", "rule", "by", "of", "embedding", "in_dim", "embedding_dim", "num_classes"),
    *("dialect", "train_net", "test_nets", "embedding_blob", "classes", "net", "type"),
}
# Messages of Caffe layers that hold settings of a method; the others say how the network is built.
_PARAMETERS: tuple[str, ...] = (
    "contrastive_loss_param",
    "contrastive_loss_param_v2",
    "softmax_t_p_param",
    "softmax_t_n_param",
)
_PARAMETERS += ("gaussian_param", "dropout_param", "loss_weight")
# A net for tracklets has a slice for each: two of a person, and as many persons on the letters as in full.
_SLICED = ("embedded.classes_per_batch", "sampler.options.tracklets_per_class")
_CHOICES = {
    "trains": ("all", "head"),
    "protocol": ("self", "query-gallery", "reid"),
    "ties": ("matlab", "optimistic"),
    "multi_query": ("avg", "max"),
}


@dataclass(frozen=True)
class Setting:
    key: str
    value: Any
    paths: tuple[Path, ...]  # several where one key sets all loss layers
    number: bool = False  # a Caffe message's: an int written there may be a float
    default: bool = False  # a loss's argument that the recipe leaves at its default


def derive(recipe: Recipe, settings: list[str]) -> Recipe:
    """`recipe` with settings "key=value" applied, the last one winning. Raises SettingError."""
    known = {setting.key: setting for setting in _settings(recipe)}
    values: dict[str, Any] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise SettingError(f"--set {text}: expected key=value")
        setting = _find(recipe, known, key)
        values[setting.key] = _read(setting, value, text)
    if not values:
        return recipe
    _expand(recipe, values)
    changed, lines = recipe, []
    order = sorted(values, key=lambda key: ("/" in key, key))  # one layer's value stands over that for all of them
    for key in order:
        for path in known[key].paths:
            if not (known[key].default and values[key] == known[key].value):
                changed = _with(changed, path, values[key])
        lines.append(f"{key} {shown(known[key].value)} -> {shown(values[key])}")
    try:
        changed = settle(recipe, changed, set(values))
    except SettingError as error:
        raise SettingError(f"--set {' '.join(settings)}: {error}") from None
    suffix = "".join(f"+{_short(known, key)}={shown(values[key])}" for key in order)
    return dataclasses.replace(
        changed,
        name=recipe.name + suffix,
        title=f"{recipe.title}; derived: {', '.join(lines)}",
        expected=(),
        deviations=(f"derived from {recipe.name}: {', '.join(lines)}", *recipe.deviations),
        derived_from=recipe.name,
        records=_records(recipe, changed),
    )


def _expand(recipe: Recipe, values: dict[str, Any]) -> None:
    """`batch` and `epochs` as the settings that they stand for."""
    if (images := values.pop("batch", None)) is not None:
        if "sampler.classes_per_batch" in values:
            raise SettingError("--set batch: sampler.classes_per_batch says the same; give one of them")
        each = values.get("sampler.images_per_class", recipe.sampler.images_per_class)
        if images % each:
            raise SettingError(f"--set batch={images}: no multiple of the {each} images of a class")
        values["sampler.classes_per_batch"] = images // each
    if (count := values.pop("epochs", None)) is not None:
        if "iterations" in values:
            raise SettingError("--set epochs: iterations says the same; give one of them")
        sampler = dataclasses.replace(
            recipe.sampler,
            classes_per_batch=values.get("sampler.classes_per_batch", recipe.sampler.classes_per_batch),
            images_per_class=values.get("sampler.images_per_class", recipe.sampler.images_per_class),
        )
        dataset = values.get("dataset", recipe.dataset)
        updates = epoch(dataclasses.replace(recipe, sampler=sampler, dataset=dataset))
        if not updates:
            raise SettingError(f"--set epochs: a batch of {sampler.batch_size} is larger than an epoch of {dataset}")
        values["iterations"] = count * updates


def _records(recipe: Recipe, changed: Recipe) -> Records:
    """What still checks the derived recipe: its parent's code, but no recording or log of the parent's own settings."""
    own = recipe.records
    same_loss = recipe.torch is None or changed.torch is None or recipe.torch.loss == changed.torch.loss
    return dataclasses.replace(
        own,
        training_run="",
        stands_in=recipe.name if own.training_run else own.stands_in,
        loss_set=own.loss_set if same_loss else "",
        loss_like=own.loss_like if same_loss else None,
        evaluation=own.evaluation and recipe.dataset == changed.dataset,
        logs={},
    )


def keys(recipe: Recipe) -> dict[str, Any]:
    """Every key that `derive` knows for this recipe, with the recipe's value."""
    return {setting.key: setting.value for setting in _settings(recipe)}


def not_embedded(recipe: Recipe) -> list[str]:
    """Settings that a derived recipe changed and that its letters form replaces by its own scale."""
    changed = recipe.name.split("+")[1:] if recipe.derived_from else []
    scale = ("iterations", "snapshot_every", "evaluation.iterations", "classes_per_batch", "images_per_class")
    names = [part.split("=")[0] for part in changed]
    return [name for name in names if name.endswith(scale) and not name.startswith(("embedded.", "torch."))]


def shown(value: Any) -> str:
    """As it stands in names and may be given again: 1.0, true, 5000,10000."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(shown, value))
    return value if isinstance(value, str) else json.dumps(value)


def _settings(recipe: Recipe) -> Iterator[Setting]:
    for setting in _walk(recipe, (), ()):
        if setting.key == "torch.head.out_dim":  # losses and memories know the dimension too
            others = [part for part in ("loss", "memory") if "embedding_dim" in (getattr(recipe.torch, part) or {})]
            paths = (*setting.paths, *(("torch", part, "embedding_dim") for part in others))
            setting = dataclasses.replace(setting, paths=paths)
        if recipe.sampler.rule != "TrackletSampler" or setting.key not in _SLICED:
            yield setting
    yield Setting("batch", recipe.sampler.batch_size, ())
    if recipe.torch is not None:
        if (updates := epoch(recipe)) is not None:
            yield Setting("epochs", recipe.iterations // updates, ())
        for name, value in loss_defaults.of(recipe.torch.loss["class"]).items():
            if name not in recipe.torch.loss:
                number = not isinstance(value, (bool, str))
                yield Setting(f"torch.loss.{name}", value, (("torch", "loss", name),), number, default=True)
    if recipe.caffe is None:
        return
    yield from _last_layer(recipe)
    together: dict[str, list[tuple[Any, Path]]] = {}
    for index, layer in enumerate(recipe.caffe.train_net["layer"]):
        for message in _PARAMETERS:
            if message not in layer:
                continue
            start: Path = ("caffe", "train_net", "layer", index, message)
            found = list(_walk(layer[message], (message,), start))
            for setting in found:
                yield dataclasses.replace(setting, key=f"{layer['name']}.{setting.key}", number=True)
                if "loss_weight" in layer:
                    together.setdefault(setting.key, []).append((setting.value, setting.paths[0]))
    for key, places in together.items():
        # Where the layers differ, no single value is theirs.
        if len({shown(value) for value, _ in places}) == 1:
            yield Setting(f"caffe.loss.{key}", places[0][0], tuple(path for _, path in places), number=True)


def _last_layer(recipe: Recipe) -> Iterator[Setting]:
    """Size and rate of the layers that end in the embedding: the inner products that the test nets have, too."""
    assert recipe.caffe is not None
    train = recipe.caffe.train_net["layer"]
    nets: list[tuple[Path, Any]] = [(("caffe", "train_net"), train)]
    nets += [(("caffe", "test_nets", name), net["layer"]) for name, net in recipe.caffe.test_nets.items()]
    tested = {layer["name"] for _, layers in nets[1:] for layer in layers if layer["type"] == "InnerProduct"}
    # An inner product that a BatchNorm follows is one of the trunk's.
    inside = {bottom for layer in train if layer["type"] == "BatchNorm" for bottom in layer["bottom"]}
    last = {
        layer["name"] for layer in train if layer["type"] == "InnerProduct" and layer["top"][0] not in inside
    } & tested
    places = [
        ((*where, "layer", index), layer)
        for where, layers in nets
        for index, layer in enumerate(layers)
        if layer["name"] in last and layer["type"] == "InnerProduct"
    ]
    trained = [(path, layer) for path, layer in places if path[1] == "train_net"]
    sizes = {layer["inner_product_param"]["num_output"] for _, layer in places}
    if len(sizes) == 1:
        paths = tuple((*path, "inner_product_param", "num_output") for path, _ in places)
        yield Setting("caffe.embedding.num_output", sizes.pop(), paths)
    rates = {param["lr_mult"] for _, layer in trained for param in layer.get("param", ())[:1]}
    if len(rates) == 1:
        paths = tuple((*path, "param", 0, "lr_mult") for path, _ in trained)
        yield Setting("caffe.embedding.lr_mult", rates.pop(), paths, number=True)


def _walk(value: Any, names: tuple[str, ...], path: Path) -> Iterator[Setting]:
    """The leaves below `value`; phases count from 1 in keys, as `show` prints them."""
    if dataclasses.is_dataclass(value):
        items: list[tuple[str, Any, Any]] = [
            (f.name, f.name, getattr(value, f.name)) for f in dataclasses.fields(value)
        ]
    elif isinstance(value, dict):
        items = [(str(key), key, item) for key, item in value.items()]
    elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        items = [(str(index + 1), index, item) for index, item in enumerate(value)]
    elif value is not None:
        number = path[:2] == ("caffe", "solver")
        yield Setting(".".join(names), value, (path,), number)
        return
    else:
        return
    for name, key, item in items:
        if name not in _FIXED:
            yield from _walk(item, (*names, name), (*path, key))


def _find(recipe: Recipe, known: dict[str, Setting], key: str) -> Setting:
    if key in known:
        return known[key]
    fitting = [name for name in known if _abbreviates(key, name)]
    # One loss layer's parameter is meant only where its layer is named; all of them come first.
    general = [name for name in fitting if "/" not in name]
    if len(general or fitting) == 1:
        return known[(general or fitting)[0]]
    if fitting:
        raise SettingError(f"--set {key}: {recipe.name} has several such settings: {', '.join(general or fitting)}")
    tail = key.rsplit(".", 1)[-1]
    if reason := _why_none(recipe, tail):
        raise SettingError(f"--set {key}: {reason}")
    names = [name for name in known if ("/" in name) == ("/" in key)]
    close = difflib.get_close_matches(key, names, n=3, cutoff=0.6)
    close += [name for name in names if difflib.get_close_matches(tail, [name.rsplit(".", 1)[-1]], cutoff=0.7)]
    nearest = list(dict.fromkeys(close))[:5]
    hint = f"Nearest: {', '.join(nearest)}. " if nearest else ""
    raise SettingError(
        f"--set {key}: {recipe.name} has no such setting. {hint}All of them: python -m paper_recipes show {recipe.name} --keys"
    )


def _why_none(recipe: Recipe, key: str) -> str:
    """Why a recipe lacks a setting that others have, or ""."""
    if key in ("backbone", "model_name"):
        return (
            "a network comes with weights and pictures of its own, so another one is another recipe (`python -m paper_recipes "
            "list`); classification_metric_learning, where --model_name names it, has resnet50 alone"
        )
    if key == "epochs":
        return f"{recipe.sampler.rule} has no epochs of a known length; the length of {recipe.name} is iterations"
    if key == "lr" and recipe.caffe is not None:
        return f"the rate of {recipe.name} is its solver's: base_lr"
    return ""


def _abbreviates(key: str, name: str) -> bool:
    """The same last part, and the other parts of `key` in the order of `name`."""
    parts = iter(name.split("."))
    return name.split(".")[-1] == key.split(".")[-1] and all(part in parts for part in key.split("."))


def _short(known: dict[str, Setting], key: str) -> str:
    """The last part where it is the only one of that name, else the whole key."""
    tail = key.rsplit(".", 1)[-1]
    general = [name for name in known if "/" not in name and name.rsplit(".", 1)[-1] == tail]
    return tail if general == [key] and tail not in known else key


def _read(setting: Setting, text: str, argument: str) -> Any:
    value = _typed(setting.value, text, setting.number, f"--set {argument}: {setting.key} takes")
    allowed = _data_sets() if setting.key == "dataset" else _CHOICES.get(setting.key.rsplit(".", 1)[-1])
    if allowed and not set(value if isinstance(value, tuple) else (value,)) <= set(allowed):
        raise SettingError(f"--set {argument}: {setting.key} is one of {', '.join(allowed)}")
    whole = isinstance(setting.value, int) and not isinstance(setting.value, bool) and not setting.number
    if whole and setting.value > 0 >= value and setting.key != "seed":
        raise SettingError(f"--set {argument}: {setting.key} must be at least 1")
    return value


def _data_sets() -> tuple[str, ...]:
    from ports import datasets  # NumPy, which listing the recipes does without

    return tuple(datasets.names())


def _typed(old: Any, text: str, number: bool, what: str) -> Any:
    if isinstance(old, bool):
        if text.lower() not in ("true", "false"):
            raise SettingError(f"{what} true or false (now {shown(old)}), not {text!r}")
        return text.lower() == "true"
    if isinstance(old, str):
        return text
    if isinstance(old, (list, tuple)):
        kind = old[0] if old else 0
        items = [
            _typed(kind, item, number, f"{what} a list (now {shown(old) or 'empty'}),")
            for item in text.split(",")
            if item
        ]
        return type(old)(items)
    if isinstance(old, int):
        try:
            return int(text)
        except ValueError:
            if not number:
                raise SettingError(f"{what} a whole number (now {shown(old)}), not {text!r}") from None
    try:
        value = float(text)
    except ValueError:
        raise SettingError(f"{what} a number (now {shown(old)}), not {text!r}") from None
    if not math.isfinite(value):
        raise SettingError(f"{what} a finite number, not {text!r}")
    return value


def _with(value: Any, path: Path, new: Any) -> Any:
    """A copy of `value` in which the leaf at `path` is `new`."""
    if not path:
        return new
    key, rest = path[0], path[1:]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(value, **{key: _with(getattr(value, key), rest, new)})
    if isinstance(value, dict):
        return {**value, key: _with(value.get(key), rest, new)}
    return type(value)(_with(item, rest, new) if index == key else item for index, item in enumerate(value))
