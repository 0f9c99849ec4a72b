"""Tests of what a leader sees of campaigns."""
