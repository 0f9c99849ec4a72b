"""Detectors of objects: design, network, training, checkpoints."""
