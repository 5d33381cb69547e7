"""HTML reports: one look for all of them, one page each that needs nothing from elsewhere."""
