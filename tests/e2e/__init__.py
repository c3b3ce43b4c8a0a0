"""The real command line, in its own process, against the simulator over real sockets."""
