"""What a survey makes of light: PSF, noise, depth, rendering, and marks on pictures."""
