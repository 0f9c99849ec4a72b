"""The main job with one command, labelled by simulated annotators."""
