"""What people answered: webhooks become label events, and several labels of a stamp become one."""
