"""The `galaxyloop` command line, a module a command; those on stamp sets in `stamps`."""
