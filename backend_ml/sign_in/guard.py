"""What keeps other sites and caches from the pages for people: headers of every answer."""

from fastapi import Response

_OWN = "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"

SECURITY = {
    "Content-Security-Policy": f"{_OWN}; script-src 'self'; connect-src 'self'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of a page whose own script does everything."""
FORM_SECURITY = SECURITY | {"Content-Security-Policy": f"{_OWN}; form-action 'self'"}
"""Of a page without scripts, whose forms go to this site."""


async def guarded(response: Response) -> None:
    """Let no other site frame, sniff or embed what is answered, and no cache keep it."""
    response.headers.update(SECURITY | {"Cache-Control": "no-store"})
