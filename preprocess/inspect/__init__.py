"""What a store holds, for people: tables, sheets, pages, checks, comparisons, copies."""
