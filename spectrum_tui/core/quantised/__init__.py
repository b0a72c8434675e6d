"""Quantised checkpoints as the full-precision weights that a trainer would load from them."""
