"""Projects that people bring, and tasks that they import themselves, become a campaign's."""
