"""What a training script needs beside its own lines: options, data, loading, what has changed."""
