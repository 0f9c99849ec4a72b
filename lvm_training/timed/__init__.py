"""Training within given minutes, on a borrowed GPU or on what there is."""
