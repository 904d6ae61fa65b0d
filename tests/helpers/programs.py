"""Programs that a bare machine lacks: the tests that need one say so."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

import pytest

GIT = shutil.which("git")
needs_git = pytest.mark.skipif(GIT is None, reason="needs git")
#: What torch.compile calls for a CPU, and the header that it includes (Debian: g++ and python3-dev).
needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None or not Path(sysconfig.get_path("include"), "Python.h").exists(),
    reason="torch.compile needs a C++ compiler (g++, or the one that CXX names) and Python.h",
)
