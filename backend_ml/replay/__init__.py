"""Campaigns replayed on labelled sets, to measure what a policy saves."""
