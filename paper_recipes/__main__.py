"""`python -m paper_recipes`."""

from paper_recipes.runner.cli import main

main()
