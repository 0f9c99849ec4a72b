"""Whether a living installation is well, check by check, and what mends it."""
