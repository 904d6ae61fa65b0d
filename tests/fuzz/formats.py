"""All formats by name."""

from __future__ import annotations

from tests.fuzz.caffe_formats import CAFFE
from tests.fuzz.data_formats import DATA
from tests.fuzz.format import Format
from tests.fuzz.run_formats import RUNS

FORMATS: dict[str, Format] = {each.name: each for each in (*CAFFE, *DATA, *RUNS)}
