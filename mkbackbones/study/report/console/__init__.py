"""What commands print of a study: tables for a terminal."""
