"""MetaSchedule over this project's schedule spaces, and the database of records."""
