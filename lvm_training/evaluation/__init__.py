"""How good answers are: metrics, probes, restoration, plots and contact sheets."""
