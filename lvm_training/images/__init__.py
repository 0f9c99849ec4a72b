"""One image file read one way: its bands, its unit, its scale and its place on the sky."""
