"""Where a snapshot comes from: an API server, or a folder of manifests."""
