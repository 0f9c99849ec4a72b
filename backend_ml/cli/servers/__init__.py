"""Commands about an installation: its servers, and all that they keep."""
