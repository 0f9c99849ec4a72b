"""The pages of who leads campaigns."""
