"""The checks, one module a subject; run.py lists them.

Each is a pure function: a cluster in, sentences out, one a problem.
"""
