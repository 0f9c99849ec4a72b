"""Kinds of campaigns: what people answer with, and how a model learns to; one class and one XML each."""
