check=None
