"""The webhook as a server: HTTP, TLS, AdmissionReviews, logs, metrics, draining."""
