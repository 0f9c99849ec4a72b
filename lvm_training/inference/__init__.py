"""Detectors at work: objects on whole stamp sets, and on images of any size."""
