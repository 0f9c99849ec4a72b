"""The search page over HTTP: signing in, routes, and what they answer."""
