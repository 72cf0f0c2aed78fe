"""The checks, one module a category. Each is a pure function: a cluster in, sentences out, one a problem."""
