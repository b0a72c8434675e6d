"""How much memory a choice of layers takes to train: exact counts, times what a preset keeps.

Weights, gradients and optimizer state follow from the parameters' sizes; activations are a rougher
estimate from their shapes. Nothing here imports torch.
"""
