"""What operators do with a log: back up, restore, check, migrate, export. No server is needed."""
