"""Votes of Galaxy Zoo: the decision tree, classes by published cuts, and which stamp each row of votes belongs to."""
