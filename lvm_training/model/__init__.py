"""Tensors and weights: the Swin encoder-decoder, heads and checkpoints."""
