"""The card of a model version: one page that says what it is made of, how good it is, and what it is not for."""
