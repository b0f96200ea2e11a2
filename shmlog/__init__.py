"""Shared memory, lanes and logs: Kafka on one host. The public names."""
