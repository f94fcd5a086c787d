"""The recognized network in float: its operators, and how it runs."""
