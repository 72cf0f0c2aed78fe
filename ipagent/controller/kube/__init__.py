"""What the controller reads from and writes to the API server."""
