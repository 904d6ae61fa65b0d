"""Losses of JAX and of TensorFlow against the authors' numbers, with the real frameworks: tox -e frameworks."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import golden
from golden import adapters
from golden.evaluate import evaluate
from golden.frameworks import framework_of
from golden.sets import Argument, load_set

HERE = [name for name in ("jax", "tensorflow") if importlib.util.find_spec(name)]
if not HERE:
    pytest.skip("needs JAX or TensorFlow: tox -e frameworks", allow_module_level=True)

SET = "contrastive-deep-metric"
FILES = {
    "jax": """
        import jax.numpy as jnp
        from jax import jit, lax, nn


        def right(x, y):
            s, same = x @ x.T, y[:, None] == y
            pull, push = same & (lax.stop_gradient(s) < 1), ~same & (lax.stop_gradient(s) > 0.5)
            return (jnp.where(pull, 1 - s, 0).sum() + jnp.where(push, s, 0).sum()) / len(x)


        compiled = jit(right)


        def halved(x, y):
            return right(x, y) / 2


        def from_similarities(s, y):
            same = y[:, None] == y
            pull, push = same & (lax.stop_gradient(s) < 1), ~same & (lax.stop_gradient(s) > 0.5)
            return (jnp.where(pull, 1 - s, 0).sum() + jnp.where(push, s, 0).sum()) / len(s)


        def from_distances(d, y):
            return jnp.where(y[:, None] == y, d, -d).sum()


        def softmax(x, y, w):
            w = w * lax.rsqrt(jnp.maximum((w * w).sum(1, keepdims=True), 1e-24))
            return -nn.log_softmax(x @ w.T / 0.05)[jnp.arange(len(y)), y].mean()


        def rows(x, y):
            return x.sum(1)


        def number(x, y):
            return 0.5


        def infinite(x, y):
            return x.sum() / 0


        def single(x, y):
            return right(x, y).astype("float32")


        def raises(x, y):
            raise RuntimeError("not today")
        """,
    "tensorflow": """
        import keras
        import tensorflow as tf


        def right(x, y):
            return from_similarities(tf.matmul(x, x, transpose_b=True), y)


        compiled = tf.function(right)


        def halved(x, y):
            return right(x, y) / 2


        def from_similarities(s, y):
            same, fixed = y[:, None] == y[None], tf.stop_gradient(s)
            pull, push = same & (fixed < 1), ~same & (fixed > 0.5)
            zero = tf.zeros_like(s)
            total = tf.reduce_sum(tf.where(pull, 1 - s, zero)) + tf.reduce_sum(tf.where(push, s, zero))
            return total / tf.cast(len(s), s.dtype)


        def from_distances(d, y):
            return tf.reduce_sum(tf.where(y[:, None] == y[None], d, -d))


        def softmax(x, y, w):  # of Keras: its cross entropy of logits
            logits = tf.matmul(x, tf.math.l2_normalize(w, 1, epsilon=1e-24), transpose_b=True) / 0.05
            return tf.reduce_mean(keras.ops.sparse_categorical_crossentropy(y, logits, from_logits=True))


        def rows(x, y):
            return tf.reduce_sum(x, 1)


        def number(x, y):
            return 0.5


        def infinite(x, y):
            return tf.reduce_sum(x) / 0


        def single(x, y):
            return tf.cast(right(x, y), "float32")


        def raises(x, y):
            raise RuntimeError("not today")
        """,
}


@pytest.fixture(params=HERE, scope="module")
def written(request, tmp_path_factory):
    """(framework, its file of losses, the file loaded as a module)."""
    path = tmp_path_factory.mktemp("losses") / f"{request.param}_losses.py"
    path.write_text(textwrap.dedent(FILES[request.param]))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return request.param, path, module


def quick(loss, against=SET, **options):
    return golden.check(loss, against, properties=False, diagnosis=False, **options)


def test_a_right_loss_passes(written):
    framework, _, losses = written
    assert framework_of(losses.right) == framework
    report = golden.check(losses.right, SET, dtype="both", cases=["g*", "s0*"])
    assert report.passed and len(report.rows) > 10, report.text()
    assert {p.name: p.verdict for p in report.properties}["repeatable"] == "ok"
    assert quick(losses.compiled, framework=framework, cases=["g16*"]).passed


def test_a_wrong_one_differs_and_is_explained(written):
    report = golden.check(written[2].halved, SET, properties=False, cases=["g*"])
    assert not report.passed and {"fail"} <= {row.verdict for row in report.rows} <= {"fail", "pass"}
    assert "the right direction, but 0.5 times the length" in str(report.diagnosis)


def test_a_loss_of_more_arguments(written):
    report = quick(written[2].softmax, "normsoftmax")
    assert report.passed, report.text()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rows", "a scalar is needed"),
        ("number", "returned float '0.5', not a"),
        ("infinite", "loss is "),
        ("raises", "RuntimeError: not today (FRAMEWORK_losses.py:"),
    ],
)
def test_what_cannot_be_compared_is_a_row(written, name, words):
    framework, _, losses = written
    whys = {row.why for row in quick(getattr(losses, name), cases=["g*"]).rows}
    assert all(words.replace("FRAMEWORK", framework) in why for why in whys), whys


def test_single_precision_inside_is_noted(written):
    assert any("loss is float32" in row.why for row in quick(written[2].single, cases=["g*"]).rows)


def test_adapters_of_batches(written):
    framework, _, losses = written
    assert quick(losses.from_similarities, adapter=adapters.pair_matrix).passed
    arguments = list(load_set(SET).cases[0].arguments)
    x, y = (a.array for a in arguments)

    def gradient(loss, framework):
        outcome = evaluate(loss, arguments, dtype="float64", framework=framework)
        assert not outcome.problem, outcome.problem
        return outcome.gradients[0]

    def distances(d, labels):
        sign = np.where(labels[:, None] == labels, 1.0, -1.0)
        return (sign * d).sum(), sign

    distances.golden_framework = "numpy"
    adapted = adapters.distance_matrix(losses.from_distances), adapters.distance_matrix(distances)
    # The same sum of 2 N^2 unit vectors in another order.
    np.testing.assert_allclose(gradient(adapted[0], framework), gradient(adapted[1], "numpy"), rtol=0, atol=1e-12)

    def square(rows, labels):
        return (rows**4).sum(), 4 * rows**3

    square.golden_framework = "numpy"
    long = [Argument("embeddings", 3 * x, True), Argument("labels", y)]
    theirs = evaluate(adapters.normalised(losses.right), long, dtype="float64", framework=framework)
    unit = evaluate(
        losses.right,
        [Argument("embeddings", x / np.linalg.norm(x, axis=1, keepdims=True), True), long[1]],
        dtype="float64",
    )
    assert abs(theirs.loss - unit.loss) < 1e-6  # single similarities cross 1 by rounding, where the loss jumps by 1 - s
    assert evaluate(adapters.normalised(square), long, dtype="float64", framework="numpy").gradients[0].any()


def test_on_the_command_line(written):
    framework, path, _ = written
    command = [sys.executable, "-m", "golden", "check", f"{path}:right", "--against", SET, "--framework", framework]
    done = subprocess.run(command, cwd=golden.DATA.parents[1], capture_output=True, text=True)
    assert done.returncode == 0 and "right equals contrastive-deep-metric (19 of 19 cases pass)" in done.stdout, (
        done.stderr
    )
    done = subprocess.run([*command, "--device", "cuda"], cwd=golden.DATA.parents[1], capture_output=True, text=True)
    assert done.returncode == 2 and "only torch losses are moved" in done.stderr
