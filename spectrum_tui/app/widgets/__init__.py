"""The widgets that Textual does not have, one file each."""
