"""The terminal: what a person types, reads and answers, and the process that it happens in."""
