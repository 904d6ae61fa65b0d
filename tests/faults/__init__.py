"""What can befall a run, done to a small one: `python -m tests.faults` makes the table in docs/reliability.md."""
