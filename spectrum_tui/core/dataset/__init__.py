"""Texts to train on and to judge by: read from people's own files, without torch."""
