"""pytest plugin: `golden_check` and `@pytest.mark.golden("rll-cvpr19")`. Loads neither torch nor NumPy until a test needs them.

    @pytest.mark.golden("rll-cvpr19")          # one test per case
    def test_my_loss(golden_check):
        golden_check(MyLoss())

Arguments of the mark: the set, or a folder (from the test's folder) for a record of your own, then `dtype="both"`,
`tolerance=`, `device=`, `adapter=`, `cases=[...]`. Without a mark, `golden_check(loss, "rll-cvpr19")` checks the whole set.
`--golden-update` makes or replaces records of your own; numbers of the authors' programs are never rewritten.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class MarkError(Exception):
    """What is wrong with a mark or a call; it fails that test and no other."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("golden").addoption(
        "--golden-update", action="store_true", help="record your own golden sets anew (never the authors' numbers)"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", 'golden(against, dtype="float64", ...): check a loss against a golden set, case by case'
    )


def _options(mark: pytest.Mark) -> tuple[str, dict[str, Any]]:
    names = list(mark.args)
    if len(names) != 1 or not isinstance(names[0], str):
        raise MarkError(f"@pytest.mark.golden takes the name of one golden set or folder, got {names}")
    unknown = set(mark.kwargs) - {"dtype", "tolerance", "device", "adapter", "cases", "framework", "accept"}
    if unknown:
        raise MarkError(f"@pytest.mark.golden knows no {', '.join(sorted(unknown))}")
    return names[0], dict(mark.kwargs)


def _own_record(against: str, test_file: Path) -> Path | None:
    """FOLDER/NAME of a user's record, relative to the test's file; None for a bundled set."""
    from .sets import describe, set_names  # NumPy

    if against in set_names():
        return None
    if "/" not in against and "\\" not in against:
        try:
            describe(against)
        except KeyError as error:
            raise MarkError(f"{error.args[0]}; a record of your own is named as FOLDER/NAME") from None
    return test_file.parent / against


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per case and dtype where a test has both the mark and the fixture."""
    mark = metafunc.definition.get_closest_marker("golden")
    if mark is None or "golden_check" not in metafunc.fixturenames:
        return
    try:
        params, ids = _params(mark, Path(str(metafunc.definition.path)))
    except Exception as error:  # damaged data too: this test fails with the reason, the session goes on
        params, ids = [(None, str(error.args[0] if error.args else error))], ["wrong-mark"]
    metafunc.parametrize("golden_check", params, indirect=True, ids=ids)


def _params(mark: pytest.Mark, test_file: Path) -> tuple[list[tuple[Any, str]], list[str]]:
    """([(case, dtype)], their ids) of a mark. MarkError for what it cannot mean."""
    against, options = _options(mark)
    record = _own_record(against, test_file)
    runs = _runs(against, own=record is not None)
    patterns = options.get("cases") or ["*"]
    asked = str(options.get("dtype", "float64")).removeprefix("torch.")
    if asked not in ("float64", "float32", "both"):
        raise MarkError(f'@pytest.mark.golden takes dtype="float64", "float32" or "both", got {asked!r}')
    params = [
        (name, dtype)
        for name, dtype in runs
        if asked in (dtype, "both") and any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    ]
    if not params:  # pytest would skip such a test, and a skipped check looks like a passed one
        raise MarkError(f"@pytest.mark.golden: {_no_case(against, asked, patterns, own=record is not None)}")
    return params, [name if asked != "both" else f"{name}-{dtype}" for name, dtype in params]


def _no_case(against: str, dtype: str, patterns: list[str], *, own: bool) -> str:
    if own:
        return f"{against} has no case in {dtype} named {' or '.join(map(repr, patterns))}"
    from .checker import no_case  # NumPy
    from .sets import load_set  # NumPy

    return no_case(load_set(against), dtype, patterns)


def _runs(against: str, *, own: bool) -> list[tuple[str, str]]:
    """(case, dtype) of everything that is recorded; a record of one's own that is still to be made has the whole battery."""
    dtypes = ("float64", "float32")
    if own:
        from .records import BATTERY  # NumPy

        return [(name, dtype) for dtype in dtypes for name in BATTERY]
    from .sets import load_set  # NumPy

    cases = load_set(against).cases
    return [(case.name, dtype) for dtype in dtypes for case in cases if dtype in case.expected]


@pytest.fixture
def golden_check(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`golden_check(loss, against=None, **options) -> Report`; fails the test, with the report, where the loss differs."""
    mark = request.node.get_closest_marker("golden")
    if (given := getattr(request, "param", None)) is not None and given[0] is None:
        pytest.fail(given[1], pytrace=False)
    update = request.config.getoption("--golden-update")

    def run(loss: Callable[..., Any], against: str | None = None, **options: Any) -> Any:
        __tracebackhide__ = True
        try:
            return checked(loss, against, **options)
        except MarkError as error:
            told = str(error)
        pytest.fail(told, pytrace=False)

    def checked(loss: Callable[..., Any], against: str | None, **options: Any) -> Any:
        __tracebackhide__ = True
        from .checker import check  # NumPy

        chosen: dict[str, Any] = {}
        if mark is not None:
            marked, chosen = _options(mark)
            against = against or marked
        if against is None:
            raise MarkError(
                'golden_check needs a golden set: golden_check(loss, "rll-cvpr19") or @pytest.mark.golden("...")'
            )
        chosen.update(options)
        if (param := getattr(request, "param", None)) is not None:
            chosen["cases"], chosen["dtype"] = [param[0]], param[1]
        record = _own_record(against, Path(str(request.node.path)))
        if record is not None:
            _provide(loss, record, update, request.config)
        report = check(loss, record if record is not None else against, properties=False, **chosen)
        if not report.passed:
            pytest.fail(f"\n{report.text()}", pytrace=False)
        return report

    return run


def _provide(loss: Callable[..., Any], record: Path, update: bool, config: pytest.Config) -> None:
    """Write the record on demand, once per session; a missing one fails."""
    from .records import RecordError  # NumPy
    from .records import record as freeze  # NumPy

    written: set[Path] = config.stash.setdefault(_WRITTEN, set())
    target = record.with_name(record.name + ".json")
    if update and target not in written:
        try:
            freeze(loss, record.name, record.parent, force=True)
        except RecordError as error:
            pytest.fail(f"cannot record {record}: {error}", pytrace=False)
        written.add(target)
    if not target.is_file():
        pytest.fail(f"no record {target}; make it with --golden-update, look at it, and commit it", pytrace=False)


_WRITTEN = pytest.StashKey[set[Path]]()
