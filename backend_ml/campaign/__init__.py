"""Campaigns: planned, created, brought up to date, exported, closed."""
