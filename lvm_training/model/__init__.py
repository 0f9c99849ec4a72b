"""The large vision model: a Swin encoder-decoder, its checkpoints, and how networks are fitted."""
