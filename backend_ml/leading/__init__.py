"""What a leader changes of a campaign that runs: whether it runs, what serves, terms, classes, people and galaxies."""
