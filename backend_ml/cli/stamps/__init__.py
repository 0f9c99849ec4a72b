"""Commands on stamp sets; none needs a server."""
