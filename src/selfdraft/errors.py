"""The one exception that means: the user can mend this, and the message says how."""


class StudyError(Exception):
    """A one-line message that names the file or key, what was found and what would be right."""
