"""Keeps the webhook's certificate: CA and leaf in one Secret, caBundle in one configuration."""
