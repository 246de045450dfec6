"""Jobs that are made when their time has come."""
