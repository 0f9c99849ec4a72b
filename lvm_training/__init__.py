"""From galaxy pixels to trained models; knows nothing of Label Studio, HTTP or PostgreSQL."""
