"""The loop of a run, its evaluations on the way, and the record of what was run."""
