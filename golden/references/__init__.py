"""Plain float64 re-statements of the recorded losses, with one switch for every deviation known from public ports.

Written from the formulas for being read, not for speed (N x N x D differences). They serve `golden.diagnosis`, which looks for
the switches that turn the right formula into the user's gradient, and the golden sets' own self-test, in which every switch must
be caught, and every setting when it is moved by 2 %. A reference is a function

    f(arguments, params, deviations) -> (value, surrogate) or (value, surrogate, {name: further output})

of arrays of `golden.tape` (differentiable ones) and plain arrays: `value` is what the loss reports; the derivative of `surrogate`
gives its gradient.
"""

from __future__ import annotations

from .families import reference_for
from .reference import Deviation, Reference

__all__ = ["Deviation", "Reference", "reference_for"]
