"""The server that pods talk to: HTTP, authentication, limits, claims in, statuses out."""
