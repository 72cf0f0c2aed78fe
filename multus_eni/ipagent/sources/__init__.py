"""Where the addresses that a pod holds are read."""
