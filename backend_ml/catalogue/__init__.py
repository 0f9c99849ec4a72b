"""A campaign for others: its labels, and a catalogue to publish, a row a galaxy, objects, and class fractions."""
