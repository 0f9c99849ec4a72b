"""An installation in one file, and a file made an installation again, on another host and at another path."""
