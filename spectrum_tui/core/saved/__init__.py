"""Results on disk: written, read back, and completed from what a scan kept."""
