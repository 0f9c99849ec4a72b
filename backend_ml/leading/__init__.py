"""What a leader changes of a campaign that runs: whether it runs, its terms, classes, people and galaxies."""
