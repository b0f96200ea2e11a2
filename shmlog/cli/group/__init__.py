"""`shmlog group`: consumer groups, their members, and how far they are behind."""
