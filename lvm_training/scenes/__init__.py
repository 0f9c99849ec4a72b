"""Endless simulated stamps with their truth, drawn a batch at a time."""
