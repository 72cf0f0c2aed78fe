"""What the controller of node networks costs at rest."""
