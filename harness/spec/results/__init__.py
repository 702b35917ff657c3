"""What stages leave behind: one class for each file of JSON, with the file's name."""
