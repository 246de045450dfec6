"""Jobs: submitted, looked at, quoted, canceled, retried, and the calls that were made for them."""
