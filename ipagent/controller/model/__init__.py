"""Data of the controller: networks, nodes, ENIs, calls, conditions."""
