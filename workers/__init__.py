"""Process entry points: started by module name, imported by nobody."""
