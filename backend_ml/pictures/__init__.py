"""The pictures that people see of stamps, classes and progress."""
