"""What is made of a finished run from the files that it left."""
