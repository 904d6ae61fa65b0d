"""Caffe's solvers and learning-rate policies."""

from caffe_compat.solver.caffe_solver import Solver
from caffe_compat.solver.optim import CaffeSGD

__all__ = ["CaffeSGD", "Solver"]
