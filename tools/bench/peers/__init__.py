"""What `shmlog bench versus` compares: one file per peer, shmlog's own among them, behind one small protocol."""
