"""The review: a run looked at again once it has ended, its report, its passwords and its users."""
