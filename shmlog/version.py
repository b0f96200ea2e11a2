"""The version of this package, where code can read it without importing anything else."""

VERSION = "0.1.0"
