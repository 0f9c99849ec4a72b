"""The tables of a catalogue: galaxies, objects and parameters, their columns, and what is known of each galaxy."""
