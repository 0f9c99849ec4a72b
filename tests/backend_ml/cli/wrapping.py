"""What a command prints, whose lines break where the terminal ends."""


def unwrapped(text: str) -> str:
    """A text in one line, each gap in it a blank."""
    return " ".join(text.split())
