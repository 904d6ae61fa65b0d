"""A mutation fuzzer over every file format that the packages read: `python -m tests.fuzz --n 20000`."""
