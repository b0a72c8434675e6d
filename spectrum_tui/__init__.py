"""Pick the layers to train: Spectrum scores (arXiv:2406.06623) in the terminal."""

__version__ = "0.1.0"
