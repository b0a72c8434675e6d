"""What is wrong with a recipe that somebody already has, and what it should be instead."""
