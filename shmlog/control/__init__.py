"""How processes agree: the messages, the channel they travel on, and the places where processes find each other."""
