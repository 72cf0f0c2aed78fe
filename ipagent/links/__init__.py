"""`ipagent links`: sets up the interfaces of NodeNetworks on their node, and their CNI configurations."""
