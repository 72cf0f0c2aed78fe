"""The mutating admission webhook: an AdmissionReview in, a JSON Patch out."""
