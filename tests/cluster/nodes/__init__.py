"""A real cluster of two nodes in namespaces of its own, with the doubles as its cloud.

Kubelets, containerd, Multus and whereabouts are the real ones. Everything but cgroups, one temporary folder
and a few loopback ports is inside one set of namespaces: the machine's network, mounts and /run are left
alone, and the end of one process is the end of all. `make cluster` keeps one up for a person.
"""
