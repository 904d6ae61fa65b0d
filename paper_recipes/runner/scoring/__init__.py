"""Embeddings and what they are worth: recall, re-identification, clusters, neighbours, the verdict."""
