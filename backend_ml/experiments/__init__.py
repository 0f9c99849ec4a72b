"""Experiments of the pipeline: a clone that is made for them, and what workers run there by themselves."""
