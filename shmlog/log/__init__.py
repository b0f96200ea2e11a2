"""A partition on disk, with Kafka's file names and bytes: written by its owner, read by anybody.

`partition_log` is what the owner and the metadata log hold, `cold` what a client reads with. Nothing here knows of
shared memory or of the network.
"""
