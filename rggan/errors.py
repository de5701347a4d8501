"""The one exception that is the user's to mend."""


class UserError(Exception):
    """Bad input: the message is one clear sentence that says what to do next.

    The command line prints it and exits with code 2; library code may catch it.
    """
