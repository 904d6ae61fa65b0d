"""What executes a recipe.

cli.py          the command line
prepare.py      data of a run: the embedded set or a user's folder, as splits
loading.py      batches of images, independent of the number of workers
engine.py       the network, its loss and its solver behind three verbs: step, embed, state
train.py        the loop: steps, evaluations, checkpoints, resume, Ctrl-C
evaluate.py     embeddings of a split and the paper's metrics
checkpoint.py   one atomic file per checkpoint
record.py       what was run, on what, from which sources
archives.py     from official archives (or embedded_archives.py: letters packed as such) to a verified folder
evidence.py     the chain of evidence: each link against its reference, computed; the links are in evidence_*.py
report.py       report.md, report.html; figures.py draws its pictures
"""
