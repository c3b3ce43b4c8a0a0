"""The nights: a job that is run again and again, each input once and none forgotten."""
