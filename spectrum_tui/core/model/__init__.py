"""A model as a whole: what is in it, before anything is scored."""
