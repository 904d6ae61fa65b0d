"""`python -m golden list | check | record | published | mutants`."""

from golden.cli import main

if __name__ == "__main__":
    main(prog_name="python -m golden")
