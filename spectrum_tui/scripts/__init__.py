"""Scripts that recipes are written as: real files here, so that they are checked like the rest."""
