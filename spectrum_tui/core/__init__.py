"""What the program knows and computes, without a screen: no Textual and no Rich below here."""
