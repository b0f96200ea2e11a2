"""`shmlog segment scrub`: whether the disks still have what was written to them, and mending it from other replicas."""
