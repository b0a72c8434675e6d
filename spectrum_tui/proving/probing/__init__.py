"""The process that looks at a model's gradients and activations: `python -P -m` this package."""
