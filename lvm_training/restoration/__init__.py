"""Restoration: stamps without their noise, in their own units, with an error for each pixel; and how good that is."""
