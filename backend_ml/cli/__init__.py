"""The `galaxyloop` command line, a module a command."""
