"""Shared memory: which regions there are, where everything lies in them, and how they are made and removed."""
