"""Our HTTP client: total deadlines, no idle reuse for billable calls, no retry, no redirect."""
