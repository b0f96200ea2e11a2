"""Decisions without IO, clock, logging or randomness: what has happened goes in, what to do comes out."""
