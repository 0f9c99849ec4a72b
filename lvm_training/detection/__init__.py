"""Detectors of objects: design, training, and detections on stamps and wide images."""
