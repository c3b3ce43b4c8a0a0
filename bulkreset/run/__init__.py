"""Running a job: start, resume, apply, finish, and scheduled jobs that process each input once."""
