"""Pure functions from features, probabilities and history to a ranking: no state, no I/O."""
