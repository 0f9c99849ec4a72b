"""Simulated stamps that teach: what was drawn in them is known, so that heads have labels before people give any."""
