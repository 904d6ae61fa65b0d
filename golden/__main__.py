"""`python -m golden list | check | identify | record | published | mutants | verify`."""

from .cli import main

if __name__ == "__main__":
    main()
