"""The command line: one file per noun; everything it does goes through the public client API."""
