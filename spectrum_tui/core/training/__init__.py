"""What a training script needs: a live model's names, and scores of it while it trains."""
