"""The command line: commands, options, prompts and progress, and the set-up of the process."""
