"""What a scan keeps while it runs: its entries, their singular values, its lock."""
