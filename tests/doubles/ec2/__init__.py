"""EC2's Query API on the wire: parameters, rights and answers of each action.

What is refused because of the state of EC2 is decided in `state/`.
"""
