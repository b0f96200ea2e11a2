"""The supervisor of a cluster: it observes, asks the machines, and acts. Records never pass through it."""
