"""Simulated galaxies of a catalogue as the Legacy Surveys would have seen them."""
