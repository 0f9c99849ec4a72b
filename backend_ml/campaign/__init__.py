"""Campaigns: planned, created, brought up to date, closed."""
