"""The widgets that Textual does not have, and the models that they draw."""
