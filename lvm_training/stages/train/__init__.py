"""Stages that train on labels or on simulated truth: heads, detectors, and encoders on what people said."""
