"""A partition at work: the only place where machines, memory and log are combined."""
