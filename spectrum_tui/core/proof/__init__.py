"""Whether a selection helps: rows that train in different ways, and what may be said of them."""
