"""The builds, solved. A reader gets the same files with the bodies of their functions to be written."""
