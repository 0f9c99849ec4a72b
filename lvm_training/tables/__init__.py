"""Tables as people have them, read one way: whatever the format, a cell means the same; and labels in files."""
