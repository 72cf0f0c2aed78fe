"""What the node agent knows: pods, claims, grants, ownership, events. Data only."""
