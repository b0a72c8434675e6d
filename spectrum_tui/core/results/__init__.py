"""Scores as a value, and which layers a percentage of them selects."""
