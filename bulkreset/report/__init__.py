"""The page: a run to be looked at, its charts, its words and its advice in one file."""
