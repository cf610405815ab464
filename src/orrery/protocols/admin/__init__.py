"""The admin HTTP API, and what a server says of itself: health, metrics, its landing page."""
