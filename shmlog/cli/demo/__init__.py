"""`shmlog demo`: real records through real processes, and an exact account of them afterwards."""
