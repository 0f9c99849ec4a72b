"""Parameters of galaxies from features: how bright, how large, of what form; each with an error that holds."""
