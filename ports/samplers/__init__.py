"""The batch samplers of the five papers, exact in structure, seeded and resumable.

Every sampler yields batches as `list[int]`, indices into the list of images it was built from.

- `next_batch()` never ends. Iterating never ends either, except for the two samplers whose originals count epochs
  (`FastRandomIdentity`, `ClassBalanced`): they have a length, and iterating gives the rest of the current epoch.
- `state_dict()` is JSON-able and exact in the middle of an epoch; `load_state_dict()` refuses another data set.
- `shard(rank, world)` gives each process its part of every batch.

The originals draw from MATLAB's, Python's or NumPy's global generators, so their very batches cannot be repeated; here a
NumPy generator of the sampler's own decides, and nothing else that draws can shift it.
"""

from ports.samplers.base import BatchSampler, Sampler, Shard
from ports.samplers.osm import RandomIdentitySampler, TrackletSampler
from ports.samplers.python_originals import ClassBalanced, FastRandomIdentity, MsRandomIdentity
from ports.samplers.rll import ClassEpochSampler

__all__ = [
    "BatchSampler",
    "ClassBalanced",
    "ClassEpochSampler",
    "FastRandomIdentity",
    "MsRandomIdentity",
    "RandomIdentitySampler",
    "Sampler",
    "Shard",
    "TrackletSampler",
]
