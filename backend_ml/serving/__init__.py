"""What the backend serves over HTTP, and how it guards and counts what is asked."""
