"""Simulated strong lenses, and what is mistaken for them."""
