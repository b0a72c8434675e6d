"""Checkpoint files: which shards, which tensors, and their bytes."""
