"""What executes a recipe. Read `run.py` first: data, engine, loop, report.

    cli.py        the commands; run.py, evaluate.py, verify.py what `run`, `evaluate` and `verify` do
    run_files.py  the files of a run directory, manifest.py their sha256; files.py how a file is written whole or not at all
    data/         what is trained and tested on: scale, splits, batches, archives, letters
    engines/      Caffe, PyTorch and ONNX networks; start weights, trained models, checkpoints, several processes
    scoring/      embeddings and what they are worth
    training/     the loop, evaluations on the way, the record
    evidence/     the chain of evidence, one module per kind of link
    verification/ is what the files of a run state true?
    reports/      what people look at

Imports go down this list's floors: data <- engines <- scoring <- training <- reports <- run, cli; evidence stands beside
scoring; verification beside reports, whose verdict it computes again. A test holds the directions.
"""
