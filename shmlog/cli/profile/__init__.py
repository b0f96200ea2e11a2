"""`shmlog profile`: where the time of a record goes, and what the owners do meanwhile."""
