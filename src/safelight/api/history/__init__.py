"""Looking back: what there was, in lists, tables and figures."""
