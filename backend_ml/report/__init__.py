"""How a campaign goes, read at one moment and said in words."""
