"""Tests of who is signed in."""
