"""Stand-ins for things that a test machine lacks."""
