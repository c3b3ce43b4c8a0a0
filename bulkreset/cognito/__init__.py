"""Everything that calls Cognito: sessions, the call that sets a password, its responses, and an emulator."""
