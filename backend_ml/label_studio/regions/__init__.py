"""Answers as the regions of Label Studio's annotations, and back: choices, boxes and masks, numbers, trees."""
