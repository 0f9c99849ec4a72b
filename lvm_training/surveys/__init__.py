"""Stamps by position from the cutout services of sky surveys."""
