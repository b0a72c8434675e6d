"""Scores that look at data: gradients and activations of every layer over a few batches."""
