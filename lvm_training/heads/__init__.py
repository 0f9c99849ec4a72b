"""Heads: what turns features into answers, trained on the labels of a snapshot."""
