"""What is about to happen: the users chosen, screened, looked up, approved and told, before anything is sent."""
