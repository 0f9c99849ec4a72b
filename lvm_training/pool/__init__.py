"""Features of a pool of stamps."""
