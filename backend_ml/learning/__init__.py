"""From the labels of a campaign to its next model version."""
