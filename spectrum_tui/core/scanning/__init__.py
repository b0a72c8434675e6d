"""A scan: the plan, the work on it and who does it, the journal of what is done."""
