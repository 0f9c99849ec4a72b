"""Stages that measure: the LVM, heads and detectors, on what none of them learned."""
