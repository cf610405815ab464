"""What brings data in by itself."""
