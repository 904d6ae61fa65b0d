"""`python -m golden COMMAND ...`; without a command, the list of them."""

from .supervised import main

if __name__ == "__main__":
    main()
