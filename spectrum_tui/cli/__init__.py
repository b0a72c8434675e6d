"""The commands without a screen that have no scan in them: one a file, `run_*(arguments)`."""
