"""What executes a recipe. Read `run.py` first: data, engine, loop, report.

the user        cli.py, describe.py (tables), banner.py (what is run, in words)
scale and data  plan.py (embedded, full, own), prepare.py (a run's splits), embedded.py (letters in a protocol's roles),
                archives.py (official archives to a verified folder; embedded_archives.py packs letters as such), loading.py
networks        engine.py (Caffe), engine_torch.py, engine_onnx.py: three verbs, step, embed, state; networks.py (by name),
                weights.py (what training starts from), models.py (trained models), fast.py (--fast)
training        train.py (the loop, resume, Ctrl-C), interim.py (evaluations on the way), checkpoint.py, record.py, files.py
processes       replicas.py, replicas_nets.py (what each semantics does to a net), sharded.py (evaluation in parts)
scoring         evaluate.py (embeddings, recall), clustering.py (NMI, F1), score_model.py (`evaluate`), saved.py (kept embeddings)
against papers  verdict.py, curves.py (the authors' logs), evidence.py (the chain; its links are in evidence_*.py),
                leaderboard.py, compare.py, brief.py (a line for each run)
report          report.py, figures.py, neighbours.py
"""
