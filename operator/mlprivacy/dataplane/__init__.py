"""What runs beside or before the user's code, in the job's pod."""
