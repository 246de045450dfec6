"""What callers do: submit a job, cancel it, retry it; all of it or nothing."""
