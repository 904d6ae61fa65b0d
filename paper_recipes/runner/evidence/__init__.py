"""The chain of evidence: each link of a recipe against its reference."""
