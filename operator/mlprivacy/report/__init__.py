"""What is told about jobs in forms that others read: OpenReports. Pure: a decision in, an object out."""
