"""How good answers are: metrics, probes, plots and contact sheets."""
