"""Pixels: stamp sets, and the one rendering."""
