"""Look at a store: tables, contact sheets, reports, checks, comparisons, duplicates, exports."""
