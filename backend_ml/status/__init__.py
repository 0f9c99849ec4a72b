"""How campaigns stand, for who leads them: figures, pages and words."""
