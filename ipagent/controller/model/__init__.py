"""What the controller knows and does, as data."""
