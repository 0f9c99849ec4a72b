"""Pixels: stamp sets, the one rendering, readers and simulated galaxies."""
