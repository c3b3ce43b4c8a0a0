"""The service: sessions, the call that sets a password, what its answers mean, and an emulator."""
