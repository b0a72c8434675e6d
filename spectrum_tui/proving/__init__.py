"""A process for each row of a proof, and the loop that starts them one after the other."""
