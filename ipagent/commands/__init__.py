"""Commands for troubleshooting: what the agent sees, what it would do, and how to free an address.

No mode imports them: the start of every pod would pay for it.
"""
