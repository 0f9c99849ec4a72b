"""A campaign as a catalogue that can be published: a row a galaxy, objects, and class fractions."""
