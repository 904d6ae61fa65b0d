"""The commands of `python -m golden`: each module has `arguments(parser)` and `run(options) -> exit code`."""
