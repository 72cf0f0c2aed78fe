"""The checks, one module a category. Each is a pure function from a cluster to sentences, one a problem."""
