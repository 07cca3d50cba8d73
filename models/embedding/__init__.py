"""From ids to fields: tables, the rows that they gave, vectors of one width."""
