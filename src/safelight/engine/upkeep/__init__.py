"""What nobody waits for: forgetting, erasing, putting back after a restore, and telling of what stands still."""
