"""The kinds of campaigns that come with Galaxy Loop, each found by its entry point as anybody's is."""
