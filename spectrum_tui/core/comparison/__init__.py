"""Two rankings of the same layers: how they and their selections differ."""
