"""The chain of evidence: what each recipe can be held to, and that a wrong link is called wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import golden
from golden.sets import set_names
from paper_recipes import registry
from paper_recipes.runner.evidence import caffe_links, image_links, letters_link, metric_link, sampler_link, torch_links
from paper_recipes.runner.evidence.chain import chain, holds
from paper_recipes.runner.evidence.row import HOLDS, recorded, rule_checked, unverified
from ports import samplers
from ports.metrics import reid

RECORDED, RULE = HOLDS
RECORDED_RUNS = ["rll-sop", "rll-cub", "rll-cub-unedited", "rll-tpami-sop", "osm-cub", "osm-mars"]
LINKS = ["weights", "images", "sampler", "network", "loss", "solver", "evaluation"]


SOME = [
    "rll-sop",
    "rll-tpami-inshop",
    "osm-cub-bbox",
    "osm-mars",
    "ms-cub",
    "xbm-sop",
    "cls-cub",
    "dm-nca-cub",
    "dm-weight-cub",
]
SOME += ["dm18-nca-cub", "dm18-binomial-mined-cub"]


def once(link, reads):
    """`link`, computed once for recipes that are equal in what it reads."""
    known = {}

    def row(*asked):
        key = repr(reads(*asked))
        if key not in known:
            known[key] = link(*asked)
        return known[key]

    return row


@pytest.fixture(scope="module", params=["some", pytest.param("all", marks=pytest.mark.slow)])
def chains(request):
    """Recipes' rows by link, the solver's (which trains for three steps) left out: one of each path, or all.

    Recipes that differ in their data or loss have equal nets, whose row is computed once.
    """
    rows = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(caffe_links, "solver", lambda recipe: unverified("solver", "-", "not asked here"))
        patch.setattr(letters_link, "whole_steps", lambda recipe: unverified(letters_link.LINK, "-", "not asked here"))
        patch.setattr(
            torch_links,
            "network",
            once(
                torch_links.network, lambda r: (r.torch.backbone, r.torch.head, r.records.forward, r.source.repository)
            ),
        )
        patch.setattr(caffe_links, "network", once(caffe_links.network, lambda r: (r.caffe.test_nets, r.caffe.dialect)))
        for recipe in map(registry.get, SOME if request.param == "some" else registry.RECIPES):
            rows[recipe.name] = {row["link"].removesuffix(" gradient"): row for row in chain(recipe)}
    return rows


def test_no_link_is_wrong_and_none_is_missing(chains):
    for name, rows in chains.items():
        reranked = ["re-ranking"] * bool(registry.get(name).evaluation.rerank)
        assert [link for link in rows if link not in ("images: resize", letters_link.LINK)] == LINKS + reranked, name
        assert (letters_link.LINK in rows) == (name in ("rll-sop", "osm-cub-bbox"))
        assert holds(list(rows.values())), (name, rows)


def test_every_caffe_link_is_held_to_something(chains):
    """Open links of the Caffe recipes: the ImageNet weights, and the expanded queries of Market-1501, which were not recorded."""
    for recipe in map(registry.get, chains):
        if recipe.caffe is not None:
            rows = {
                link: row
                for link, row in chains[recipe.name].items()
                if link not in ("weights", "solver", letters_link.LINK)
            }
            if recipe.name == "rll-tpami-market1501":
                assert rows.pop("re-ranking")["verdict"] == "open: the script was read, not run"
            assert {row["verdict"] for row in rows.values()} <= set(HOLDS), recipe.name


def test_wrong_reranked_distances_are_called_wrong(monkeypatch):
    mars = registry.get("osm-mars")
    right = metric_link.reranking(mars)
    assert right.verdict == RECORDED and "12 recorded runs" in right.compared
    original = metric_link.k_reciprocal_distance
    monkeypatch.setattr(
        metric_link, "k_reciprocal_distance", lambda *x, **kw: original(*x, **{**kw, "k2": kw["k2"] + 1})
    )
    assert metric_link.reranking(mars).verdict == "WRONG"


# Links that stay open, and the word that says why or what to bring.
OPEN = {
    "xbm-sop": {"network": "bring features", "loss": "golden record"},
    "xbm-vehicleid": {"network": "bring features", "loss": "golden record"},
    "xbm-baseline-sop": {"network": "bring features", "loss": "golden record"},
    **{
        f"xbm-bn-{data}": {"network": "bring features", "loss": "golden record"}
        for data in ("sop", "inshop", "cub", "cars196")
    },
    "xbm-inshop": {"network": "bring features", "loss": "golden record"},
    "cls-cub": {"network": "nothing ported"},
    "cls-cars196": {"network": "nothing ported"},
    "cls-sop": {"network": "nothing ported"},
    "cls-inshop": {"network": "nothing ported"},
    "dm-batch-hard-cub": {"loss": "no released file"},
    "dm-batch-hard-cars196": {"loss": "no released file"},
    "dm-nca-cub": {"loss": "cannot run"},
    "dm-nca-cars196": {"loss": "cannot run"},
    "dm18-nca-cub": {"loss": "read and not run"},
    **{f"dm18-binomial-{data}": {"loss": "read and not run"} for data in ("cub", "cars196", "sop", "inshop")},
}


def test_open_links_say_what_would_close_them(chains):
    for recipe in map(registry.get, chains):
        if recipe.torch is None:
            continue
        found = {
            link: row["verdict"]
            for link, row in chains[recipe.name].items()
            if row["verdict"] not in HOLDS and link not in ("weights", "solver")
        }
        expected = OPEN.get(recipe.name, {})
        assert set(found) == set(expected), recipe.name
        assert all(expected[link] in verdict for link, verdict in found.items()), found
        assert "bring" in chains[recipe.name]["weights"]["verdict"]
        assert chains[recipe.name]["solver"]["verdict"].startswith("nothing ported")


def test_which_nets_are_recorded_whole(chains):
    caffe = [name for name in chains if registry.get(name).caffe is not None]
    partly = {name for name in caffe if chains[name]["network"]["verdict"] == RULE}
    assert partly == {"rll-tpami-inshop"}  # heads of 128 values: their four blobs were never recorded
    assert "245 blobs" in chains["rll-tpami-inshop"]["network"]["compared"]
    assert "4 have no recording" in chains["rll-tpami-inshop"]["network"]["compared"]


def test_every_caffe_recipe_has_a_run_to_be_held_to():
    caffe = {r.name for r in registry.RECIPES.values() if r.caffe is not None}
    own = {r.name for r in registry.RECIPES.values() if r.records.training_run}
    assert len(own) == 8
    assert own | {r.name for r in registry.RECIPES.values() if r.records.stands_in in own} == caffe
    for name in own:
        assert (golden.DATA / "train" / registry.get(name).records.training_run / "trace.npz").is_file()
    for name, other in (
        ("osm-cub-bbox", "osm-cub"),
        ("rll-cars196", "rll-cub"),
    ):  # images apart, the two compute the same
        one, two = registry.get(name), registry.get(other)
        assert one.records.training_run == two.records.training_run
        assert one.the_caffe() == two.the_caffe() and one.sampler == two.sampler


def test_a_derived_recipe_is_checked_by_its_parent_without_claiming_the_parents_recordings():
    derived = registry.get("rll-sop+margin=1.0").records
    assert (derived.training_run, derived.stands_in, derived.logs) == ("", "rll-sop", {})
    assert registry.get("rll-tpami-sop+base_lr=0.1").records.logs == {}
    assert registry.get("rll-sop-m10+base_lr=0.1").records.stands_in == "rll-sop"
    assert registry.get("ms-cub+weight_decay=0.1").records.loss_set == "ms"
    other = registry.get("dm-contrastive-cub+loss.margin=0.4")
    assert torch_links.loss(other).verdict == "no recording of ContrastiveLoss with these arguments"
    assert not registry.get("osm-mars+dataset=market1501").records.evaluation


def test_records_name_what_there_is():
    for recipe in registry.RECIPES.values():
        records = recipe.records
        assert set(records.logs) <= set(recipe.embeddings)
        assert set(records.variants) <= set(recipe.embeddings)
        assert not records.stands_in or registry.get(records.stands_in).records.training_run
        if records.loss_set:
            assert records.loss_set in set_names()
        ways = [records.loss_set, records.loss_missing, records.loss_like]
        assert recipe.torch is None or sum(map(bool, ways)) == 1


@pytest.fixture(scope="module")
def follow():
    """`caffe_links._follow`, each run once: a recipe that has none of its own is held to its sibling's, which then is known."""
    return once(caffe_links._follow, lambda recipe, run: (recipe.name, run))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*RECORDED_RUNS, "osm-lpw"])
def test_recorded_runs_are_followed(name, follow, monkeypatch):
    monkeypatch.setattr(caffe_links, "_follow", follow)
    row = caffe_links.solver(registry.get(name))
    assert row.verdict == (RULE if name == "osm-lpw" else RECORDED)
    assert row.worst is not None and 0 < row.worst < 1e-10
    assert ("of osm-mars" in row.compared) == (name == "osm-lpw")


def changed(name: str, **fields):
    return dataclasses.replace(registry.get(name), **fields)


@pytest.mark.slow
def test_a_solver_with_another_weight_decay_is_wrong():
    """lr x (1e-5 more) of decay moves weights by 5e-9 of themselves a step: five times the tolerance already in the first."""
    recipe = registry.get("osm-cub")
    spoiled = dataclasses.replace(recipe.caffe, solver={**recipe.caffe.solver, "weight_decay": 3.1e-4})
    row = caffe_links.solver(dataclasses.replace(recipe, caffe=spoiled))
    assert row.verdict == "WRONG" and not holds([row.as_cells()])


def test_a_net_with_one_wrong_pooling_is_wrong():
    recipe = registry.get("osm-cub")
    net = recipe.caffe.test_nets["M"]
    layers = [
        {**layer, "pooling_param": {**layer["pooling_param"], "pool": "MAX"}}
        if layer["name"] == "inception_4a/pool"
        else layer
        for layer in net["layer"]
    ]
    wrong = dataclasses.replace(recipe.caffe, test_nets={"M": {**net, "layer": layers}})
    assert caffe_links.network(changed("osm-cub", caffe=wrong)).verdict == "WRONG"


def test_a_net_of_unknown_blobs_is_open():
    recipe = registry.get("osm-cub")
    one = recipe.caffe.test_nets["M"]["layer"][0]
    renamed = {**one, "name": "mine", "top": ["mine"]}
    tiny = {**recipe.caffe.test_nets["M"], "layer": [renamed], "input_dim": [1, 3, 64, 64]}
    row = caffe_links.network(changed("osm-cub", caffe=dataclasses.replace(recipe.caffe, test_nets={"M": tiny})))
    assert row.verdict == "no recording: bring blobs of this net from the authors' Caffe" and row.worst is None


def test_wrong_images_are_wrong(monkeypatch):
    from ports.images import osm

    monkeypatch.setattr(
        osm, "crop_box", lambda image, box: image[int(box[1]) : int(box[3]) + 1, int(box[0]) : int(box[2]) + 1]
    )
    assert image_links.images(registry.get("osm-cub")).verdict == RULE  # no boxes there
    assert image_links.images(registry.get("osm-cub-bbox")).verdict == "WRONG"  # 0-based corners
    rgb = changed("ms-cub", images={"pipeline": "MultiSimilarity", "crop": 227, "bgr": False})
    assert torch_links.images(rgb).verdict == "WRONG"


def test_wrong_samplers_are_wrong(monkeypatch):
    class Adjacent(samplers.TrackletSampler):
        """a a b b c c instead of a b c a b c."""

        def _round(self):
            for batch in super()._round():
                blocks = np.asarray(batch).reshape(2, -1, self.frames)
                yield blocks.transpose(1, 0, 2).reshape(-1).tolist()

    class WithRepeats(samplers.RandomIdentitySampler):
        """Images drawn with replacement, as `random.choices` would."""

        def _round(self):
            classes = self.rng.permutation(len(self.classes))[: self.groups]
            yield [int(i) for c in classes for i in self.rng.choice(self._members[c], self.images)]

    monkeypatch.setattr(samplers, "TrackletSampler", Adjacent)
    monkeypatch.setattr(samplers, "RandomIdentitySampler", WithRepeats)
    monkeypatch.setattr(samplers, "MsRandomIdentity", samplers.ClassBalanced)
    for name in ("osm-mars", "osm-cub"):
        assert sampler_link.sampler(registry.get(name)).verdict == "WRONG"
    unknown = dataclasses.replace(registry.get("osm-cub").sampler, rule="MyOwn")
    assert "no check of MyOwn" in sampler_link.sampler(changed("osm-cub", sampler=unknown)).verdict


def test_wrong_metrics_are_wrong(monkeypatch):
    """MATLAB's ties instead of the query's; a step-shaped average precision; another bit rule."""
    strict = dataclasses.replace(registry.get("xbm-sop").evaluation, ties="matlab")
    assert metric_link.evaluation(changed("xbm-sop", evaluation=strict)).verdict == RECORDED  # another rule's records
    step = lambda places, count=None: float((np.arange(1, len(places) + 1) / (np.asarray(places) + 1)).mean())  # noqa: E731
    monkeypatch.setattr(reid, "trapezoid_ap", step)
    assert metric_link.evaluation(registry.get("osm-mars")).verdict == "WRONG"
    monkeypatch.setattr(metric_link, "hamming_recall_at_k", lambda x, *a, **k: metric_link.recall_at_k(x, *a, **k))
    assert metric_link.evaluation(registry.get("cls-cub")).verdict == "WRONG"


def test_a_wrong_loss_and_head_are_wrong(monkeypatch):
    from ports import losses

    real = losses.NormSoftmaxLoss
    monkeypatch.setattr(losses, "NormSoftmaxLoss", lambda num_classes, **k: real(num_classes, **k, variant="paper"))
    assert torch_links.loss(registry.get("cls-cub")).verdict == "WRONG"
    recipe = registry.get("ms-cub")
    averaged = dataclasses.replace(recipe.torch, backbone={**recipe.torch.backbone, "pool": "avg"})
    assert torch_links.network(changed("ms-cub", torch=averaged)).verdict == "WRONG"


def test_nan_is_wrong_not_small():
    assert recorded("x", "y", "z", float("nan"), 1.0).verdict == "WRONG"
    assert rule_checked("x", "y", "z", float("nan"), 1.0).verdict == "WRONG"


def test_a_net_recorded_in_another_fork_says_so():
    row = caffe_links.network(registry.get("rll-tpami-market1501"))
    assert row.verdict == RECORDED and row.compared.endswith("recorded in rll_cvpr19, whose layers are the same")
    assert caffe_links.network(registry.get("rll-sop")).compared == "249 blobs, float64, relative to RMS"
