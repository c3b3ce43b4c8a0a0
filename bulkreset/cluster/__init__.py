"""The fleet: lanes on the workers of a cluster, and what goes to and fro between them and the coordinator."""
