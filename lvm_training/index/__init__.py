"""The index of a pool: which stamps are most like one, from memory or from disk, and which are like none."""
