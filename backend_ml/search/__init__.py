"""Searches: a few examples, rounds of yes and no, and the galaxies like them in a pool."""
