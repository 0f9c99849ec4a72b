"""Label Studio: its API, its payloads, and how answers are written as its regions."""
