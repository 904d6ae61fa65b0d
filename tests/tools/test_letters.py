"""`python -m tools.letters`: which runs there are, and what its tables say of those that are finished."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import pytest
from matplotlib.axes import Axes

from paper_recipes import registry
from paper_recipes.runner.data import scale as scales
from tools.letters import __main__ as letters
from tools.letters import gains, growth, results, runs, tables

RECIPE = registry.get("rll-sop")


def written(run, out, start, end, *, maps=(), status="finished", losses=(1.0,), device="cpu"):
    """A finished run's folder, as far as the tables read it."""
    folder = run.folder(out)
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(
        json.dumps(
            {
                "status": status,
                "started": "2026-11-27T09:10:20+00:00",
                "device": device,
                "environment": {"processor": "Z80", "gpu": "Blitter"},  # a card is there in both
                "fingerprint": run.fingerprint,
            }
        )
    )
    rows = [{"iteration": i, "hits": {}, "metrics": {"concat": {"R@1": v}}} for i, v in ((0, start), (60, end))]
    lines = {
        "evaluations": rows,
        "timings": [
            {"iteration": 1, "seconds": 60.0},
            {"iteration": 1, "extraction_seconds": 30.0},
        ],  # and six passes: 4 minutes
        "steps": [{"iteration": n, "losses": {"a": loss}} for n, loss in enumerate(losses, 1)],
    }
    for name, content in lines.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    (folder / "raw_pixels.json").write_text(json.dumps({"metrics": {"raw pixels": {"R@1": 40.0}}}))
    seen = [{"map_at_r": value} for value in maps] or [{}]  # a folder of before there was the number
    (folder / "distances.json").write_text(json.dumps({"rows": seen}))


def of_folder(plan, out):
    return [result for run in plan if (result := results.of(RECIPE, run, out)) is not None]


@pytest.mark.parametrize(("ends", "learns"), [((84.0, 85.0, 86.0), "yes"), ((81.0, 85.0, 90.0), "no")])
def test_a_recipe_learns_where_it_gains_more_than_its_seeds_differ(tmp_path, ends, learns):
    plan = runs.seeds(RECIPE, 3, None)
    for run, end in zip(plan, ends):
        written(run, tmp_path, 80.0, end, maps=(50.0, end - 30) if end != 85 else ())
    table = tables.learning([[RECIPE]], 3, of_folder(plan, tmp_path))
    cells = [cell.strip() for cell in table.splitlines()[-1].split("|")[1:-1]]
    mean, spread = sum(ends) / 3, max(ends) - min(ends)
    own = ["rll-sop", "R@1", "60", "40.0", "80.0", f"{mean:.1f}", f"{spread:.1f} of 3", learns]
    assert cells == [*own, "50.0", f"{(ends[0] + ends[2]) / 2 - 30:.1f}", f"{spread:.1f} of 2", learns, "4.0", "Z80"]


def test_the_picture_has_a_point_for_each_seed_in_the_tables_colour(tmp_path, monkeypatch):
    plan = runs.seeds(RECIPE, 3, None)
    for run, end, maps in zip(plan, (81.0, 85.0, 90.0), ((50.0, 55.0), (51.0, 56.0), ())):
        written(run, tmp_path, 80.0, end, maps=maps)
    drawn = []
    plot = Axes.plot
    monkeypatch.setattr(
        Axes, "plot", lambda *given, **how: drawn.append((given[1], how["color"])) or plot(*given, **how)
    )
    gains.picture([[RECIPE], [registry.get("ms-cub")]], 3, of_folder(plan, tmp_path), tmp_path / "gains.png")
    assert drawn == [([1.0, 5.0, 10.0], gains.COLOURS[False]), ([5.0, 5.0], gains.COLOURS[True])]
    assert (tmp_path / "gains.png").read_bytes().startswith(b"\x89PNG")


def test_a_gain_as_large_as_the_spread_is_not_more(tmp_path):
    """In-shop's letters are 300 queries: from 89 1/3 to 90 and to 90 2/3 gains two of them, and the ends are two apart."""
    plan = runs.seeds(RECIPE, 2, None)
    for run, start, end in zip(plan, (89 + 1 / 3, 89.0), (90.0, 90 + 2 / 3)):
        written(run, tmp_path, start, end)
    found = of_folder(plan, tmp_path)
    results.record(found, tmp_path / "results.csv")
    again = results.recorded(tmp_path / "results.csv")  # 89.33, 90.67: the gain is 0.67 and the spread 0.67
    for known in (found, again):
        assert "| 0.7 of 2 | no |" in tables.learning([[RECIPE]], 2, known)


def test_runs_that_are_not_finished_are_in_no_table(tmp_path):
    plan = runs.seeds(RECIPE, 3, None)
    first, second, _ = plan
    written(first, tmp_path, 80.0, 85.0)
    written(second, tmp_path, 80.0, 99.0, status="running")
    assert "| 85.0 | one seed |  |  |  |  |  | 4.0 | Z80 |" in tables.learning([[RECIPE]], 3, of_folder(plan, tmp_path))


def test_a_run_that_broke_is_no_result(tmp_path, monkeypatch):
    """Its exit code, 1, is that of a run outside its band, too: the record says which."""
    run = runs.seeds(RECIPE, 1, None)[0]
    monkeypatch.setattr(runs.sys, "executable", "/bin/false")
    with pytest.raises(SystemExit, match=r"rll-sop seed 123: not finished \(exit code 1\), see .*rll-sop-seed-123.log"):
        run.finish(tmp_path)
    written(run, tmp_path, 80.0, 85.0)
    run.finish(tmp_path)


def test_the_spread_is_between_the_farthest_settings(tmp_path):
    plan = runs.machines(RECIPE, "cpu")
    for run, end in zip(plan, (84.0, 84.5, 83.5, 84.0, 84.25), strict=True):
        written(run, tmp_path, 80.0, end)
    found = of_folder(plan, tmp_path)
    assert tables.spread([[RECIPE]], found).splitlines()[-1].endswith("| 84.0 | 84.5 | 83.5 | 84.0 | 84.2 |  | 1.0 |")
    elsewhere = replace(found[0], machine="6502", end=82.0)
    first, second = tables.spread([[RECIPE]], [elsewhere, *found]).splitlines()[-2:]
    assert first.endswith("| 6502 | 82.0 |  |  |  |  |  | 2.5 |") and "| Z80 | 84.0 |" in second


def test_a_gpu_is_a_machine_of_its_own(tmp_path):
    """Its name, not its host's; a seed that both have counts where the group has more seeds; minutes are the processor's."""
    (own,) = runs.machines(RECIPE, "cuda")
    assert (own.setting, own.options[-2:]) == ("GPU", ("--device", "cuda"))
    written(own, tmp_path, 80.0, 84.0, device="cuda:0")
    (result,) = of_folder([own], tmp_path)
    assert (result.machine, result.minutes) == ("Blitter", None)
    assert tables.spread([[RECIPE]], [result]).splitlines()[-1].endswith("| Blitter |  |  |  |  |  | 84.0 |  |")
    plan = runs.seeds(RECIPE, 3, None)
    for out, device, ends in ("a", "cpu", (85.0,)), ("b", "cuda", (86.0, 86.2, 86.4)), ("c", "cpu", (85.0, 85.4)):
        for run, end in zip(plan, ends):
            written(run, tmp_path / out, 80.0, end, device=device)
    cpu, gpu, more = (of_folder(plan, tmp_path / out) for out in "abc")
    for found, cells in ((cpu + gpu, "86.2 | 0.4 of 3 | yes"), (gpu[:1] + more, "85.2 | 0.4 of 2 | yes")):
        (line,) = tables.learning([[RECIPE]], 3, found).splitlines()[2:]
        assert cells in line and line.endswith("| 4.0 | Blitter |" if found[-1] is gpu[-1] else "| 4.0 | Z80 |")


def test_runs_side_by_side_and_none_after_one_that_broke(tmp_path, monkeypatch):
    plan, together, ran = runs.seeds(RECIPE, 6, None), threading.Barrier(2, timeout=60), []

    def finish(run, out):
        ran.append(run)
        together.wait()  # for ever, were there one at a time
        if run is plan[1]:
            raise SystemExit("broke")
        time.sleep(1)  # longer than it takes to hear of it

    monkeypatch.setattr(runs.Run, "finish", finish)
    with pytest.raises(SystemExit, match="broke"):
        letters.finish(plan, tmp_path, 2)
    assert ran in (plan[:2], plan[1::-1])


def test_results_are_kept_and_the_rest_is_run(tmp_path, monkeypatch, capsys):
    """Two of three seeds were recorded on other machines: --rest runs the third alone, --record adds it."""
    path, out = tmp_path / "results.csv", tmp_path / "out"
    plan = runs.seeds(RECIPE, 3, None)
    for run, maps in zip(plan[:2], ((), (50.0, 55.0))):
        written(run, out, 80.0, 85.0, maps=maps)
    results.record(of_folder(plan, out), path)
    before = path.read_bytes()
    assert results.recorded(path) == of_folder(plan, out)
    ran = []
    monkeypatch.setattr(results, "PATH", path)
    monkeypatch.setattr(runs.Run, "finish", lambda run, out: ran.append(run) or written(run, out, 80.0, 86.0))
    command = ["letters", "table", "--recipes", "rll-sop", "--rest", "--out", str(tmp_path / "new")]
    monkeypatch.setattr("sys.argv", command)
    letters.main()
    assert [run.setting for run in ran] == ["seed 125"] and path.read_bytes() == before
    assert "| 85.3 | 1.0 of 3 | yes |" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", [*command, "--record", "--print"])
    letters.main()
    assert [result.setting for result in results.recorded(path)] == ["seed 123", "seed 124", "seed 125"]


def test_recorded_results_are_of_recipes_as_they_are():
    """Each is a run that `table` or `spread` would do now, of the recipe that stands for its group."""
    groups = runs.same_runs([registry.get(name) for name in registry.RECIPES])
    known = {(run.recipe, run.setting) for group in groups for run in runs.seeds(group[0], 3, None)}
    known |= {(name, run.setting) for name in letters.FAMILIES for run in runs.machines(registry.get(name))}
    found = results.recorded(results.PATH)
    assert {(result.recipe, result.setting) for result in found} <= known and found == results.merged(found, [])
    assert results.current(found) == (found, [])


def test_a_recipe_that_has_changed_has_no_results(tmp_path, monkeypatch, capsys):
    """Recorded at another rate: left out of the table, run again by --rest, gone with --record; a folder of it is refused."""
    path, out = tmp_path / "results.csv", tmp_path / "out"
    own = runs.seeds(RECIPE, 1, None)[0]
    written(replace(own, options=(*own.options, "--set", "embedded.rate=2")), tmp_path / "old", 80.0, 99.0)
    with pytest.raises(SystemExit, match="old/rll-sop-seed-123 is of rll-sop with other settings than it has now"):
        own.record(tmp_path / "old")
    written(own, out, 80.0, 85.0)
    (result,) = of_folder([own], out)
    results.record([replace(result, fingerprint="0" * 16, end=99.0)], path)
    monkeypatch.setattr(results, "PATH", path)
    monkeypatch.setattr(
        "sys.argv",
        ["letters", "table", "--recipes", "rll-sop", "--rest", "--record", "--seeds", "1", "--out", str(out)],
    )
    letters.main()
    printed = capsys.readouterr().out
    assert "left out, as the recipe has changed since: rll-sop\n1 of 1: rll-sop seed 123" in printed
    assert "| 85.0 |" in printed and "99.0" not in printed and results.recorded(path) == [result]
    further = replace(result, setting="seed 130")  # of --seeds 8: no less one of this recipe
    assert results.current([result, further]) == ([result, further], [])


def test_a_run_of_the_tables_differs_from_a_users_in_its_evaluations_alone():
    own, short = scales.embedded(RECIPE), scales.embedded(registry.derived(RECIPE, runs.ends_alone(60)[1:]))
    assert (
        short.evaluations == {0, 60} and replace(own, evaluations=short.evaluations, snapshots=short.snapshots) == short
    )


def test_recipes_that_are_one_run_on_the_letters_are_run_once():
    names = (
        "rll-cub rll-cars196 rll-sop rll-sop-m10 ms-cub ms-sop ms-inshop xbm-bn-sop xbm-bn-cub xbm-sop xbm-vehicleid"
    )
    recipes = [registry.get(name) for name in [*names.split(), "xbm-baseline-sop", "cls-cub", "cls-sop"]]
    groups = {group[0].name: [recipe.name for recipe in group] for group in runs.same_runs(recipes)}
    assert groups == {  # In-shop's queries search in a gallery; no letters run fills a memory
        "rll-cub": ["rll-cub", "rll-cars196"],
        "rll-sop": ["rll-sop"],
        "rll-sop-m10": ["rll-sop-m10"],
        "ms-cub": ["ms-cub", "ms-sop"],
        "ms-inshop": ["ms-inshop"],
        "xbm-bn-sop": ["xbm-bn-sop", "xbm-bn-cub"],
        "xbm-sop": ["xbm-sop", "xbm-vehicleid"],
        "xbm-baseline-sop": ["xbm-baseline-sop"],
        "cls-cub": ["cls-cub", "cls-sop"],  # at ten times a tenth of the rate
    }


def test_growth_is_the_largest_relative_difference_of_a_step(tmp_path):
    pair = growth.pairs(RECIPE)["float64, two threads"]
    for run, losses in zip(pair, ((1.0, 2.0, 4.0), (1.0, 2.0 + 2e-9, 4.4))):
        written(run, tmp_path, 80.0, 85.0, losses=losses)
    assert growth.differences(pair, tmp_path) == pytest.approx([0.0, 1e-9, 0.1], rel=1e-6)
    assert all("--double" in run.options for run in pair) and pair[0].options[-1] == "1"
