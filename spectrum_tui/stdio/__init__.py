"""What every process of ours says on its streams, and how it ends."""
