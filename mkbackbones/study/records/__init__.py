"""What a study leaves on disk, and who reads it back: runs' folders, the ledger, the results."""
