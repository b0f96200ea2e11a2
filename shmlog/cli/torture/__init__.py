"""`shmlog torture`: real processes killed, stopped and failed by a seeded plan, and judged by histories."""
