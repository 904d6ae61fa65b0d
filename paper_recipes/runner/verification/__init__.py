"""Is what a finished run states true? Each statement is recomputed from what stands below it.

`quick` looks at the files alone: counts, schedule, manifest, stored embeddings. `python -m paper_recipes verify` (`verify.py`)
also reads the data again, embeds the test set with the checkpoints, and trains stretches anew.
"""
