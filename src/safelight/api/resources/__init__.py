"""What jobs name or are made by: recipes, styles, schedules, webhooks, providers."""
