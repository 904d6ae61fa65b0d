from paper_recipes.runner.cli import main

main()
