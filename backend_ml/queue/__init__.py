"""Which stamp is labelled next: ranked, pushed to Label Studio, refilled from the pool, kept in order."""
