"""The commands: what each takes, runs and leaves with; here and in cli alone is printed, asked or exited."""

# Each command imports what it runs: boto3, pandas and what else a run needs take most of a second to load.
