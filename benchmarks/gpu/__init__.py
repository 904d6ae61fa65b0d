"""Everything that is only known once a GPU has done it: `python -m benchmarks.gpu`, in parts (`schedule.py` lists them)."""
