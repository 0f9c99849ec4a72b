"""A `python` for tests whose processes run the project's code: a fork that has loaded the libraries, not the code."""
