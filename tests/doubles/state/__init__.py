"""The state of EC2, and what each call changes in it.

What EC2 refuses is decided and raised here; `ec2/errors.py` has the codes and their wording.
"""
