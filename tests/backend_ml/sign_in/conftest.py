"""The pages over a small sky, as the search page's tests have them."""

from tests.backend_ml.explore.conftest import app, henrietta, sky, vera

__all__ = ["app", "henrietta", "sky", "vera"]  # fixtures
