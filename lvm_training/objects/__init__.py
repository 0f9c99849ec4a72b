"""Objects on pictures: boxes, masks, their exchange format and metrics."""
