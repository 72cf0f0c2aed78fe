"""Issues and rotates the webhook's certificate: CA and leaf in one Secret, caBundle in one configuration."""
