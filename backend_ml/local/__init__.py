"""Every server on this host: PostgreSQL, Label Studio, the backend and a worker."""
