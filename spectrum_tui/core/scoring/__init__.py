"""From a stored matrix to its singular values, and from those to scores."""
