"""The plan: users are selected, validated, looked up, approved and shown before anything is sent."""
