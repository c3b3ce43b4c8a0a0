"""The real command line, run in a process of its own against the simulator over real sockets."""
