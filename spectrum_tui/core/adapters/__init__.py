"""LoRA adapters as pairs of small matrices: their products, their ranks, their files."""
