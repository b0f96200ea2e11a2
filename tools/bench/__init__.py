"""Honest figures: throughput, latency and failover of an embedded cluster, with a calibration of the machine."""
