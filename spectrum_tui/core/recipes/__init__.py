"""What a selection is written as: one file per kind of output."""
