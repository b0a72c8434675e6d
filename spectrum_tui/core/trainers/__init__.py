"""How each trainer reads a recipe and what of a model it would unfreeze by it.

`trainers.TRAINERS` is the list of them, `reports.report` what each would do with a text.
"""
