"""What users begin from: new files and folders, which never take the place of what is there."""
