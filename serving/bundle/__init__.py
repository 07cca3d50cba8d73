"""The served model as one folder."""
